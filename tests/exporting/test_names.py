import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmpr.exporting.formats import SafeNames

KINDS = ["correctness", "format", "dropout_ntp"]
HOSTILE = [
    *("", ".", "..", "../../etc/passwd", "/etc/passwd", "a/b", "a\\b", "a:b", "a\0b", "a\nb", "-rf", "~", "CON", "*"),
    *("é", "数据", "😀" * 50, "x" * 5000, "vqa ", " vqa", "vqa.", ".vqa", "a_b", "a/b/", "A_B", "vqa_correctness"),
]


@pytest.mark.parametrize("source", ["vqa", "ChartQA", "pocket-open", "a_b.c-2"])
def test_a_plain_name_stays(source):
    assert SafeNames().of(source, "correctness") == f"{source}_correctness"


@pytest.mark.parametrize("source", HOSTILE)
def test_a_hostile_name_can_be_written(source, tmp_path):
    name = SafeNames().of(source, "dropout_ntp")
    (tmp_path / f"{name}.jsonl").write_text("")
    assert [path.name for path in tmp_path.iterdir()] == [f"{name}.jsonl"]


def test_sources_that_look_alike_get_names_of_their_own():
    names = SafeNames()
    assert names.of("VQA", "format") == "VQA_format"
    assert names.of("vqa", "format").startswith("vqa-")
    assert names.of("VQA", "format") == "VQA_format"  # and keep them


@given(st.lists(st.text() | st.sampled_from(HOSTILE), unique=True, max_size=20))
def test_names_are_safe_and_unique_on_any_disk_and_the_same_again(sources):
    places = [(source, kind) for source in sources for kind in KINDS]
    names, again = SafeNames(), SafeNames()
    given_names = [names.of(*place) for place in places]
    assert given_names == [again.of(*place) for place in places]
    assert len({name.casefold() for name in given_names}) == len(places)
    for name in given_names:
        assert name.isascii() and len(name) < 200 and name[0] not in ".-" and not set(name) & set('/\\:*?"<>| \n\0')

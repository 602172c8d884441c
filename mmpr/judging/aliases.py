"""A small closed table of words that mean the same, as `prose.spelled` writes them, and Chinese classifiers."""

from __future__ import annotations

import re

_GROUPS = """
couch|sofa|settee
tv|television|tv set|television set
cell phone|cellphone|mobile phone|smartphone|smart phone|mobile|phone|telephone
bike|bicycle|pushbike
motorbike|motorcycle
airplane|plane|aeroplane|jet plane
car|automobile|motorcar
refrigerator|fridge
photo|photograph|picture
child|kid
woman|lady
usa|us|united states|united states of america|america|u s a|u s
uk|united kingdom|u k
uae|united arab emirates
china|peoples republic of china|prc
south korea|republic of korea
russia|russian federation
new york city|nyc
los angeles|la
laptop|laptop computer|notebook computer|notebook
trash can|garbage can|dustbin|rubbish bin|trash bin|garbage bin
sneaker|trainer
t shirt|tshirt|tee shirt|tee
donut|doughnut
ketchup|catsup
eyeglasses|glasses|spectacles
sunglasses|shades
bathroom|restroom|washroom
movie|film
taxi|cab|taxicab
truck|lorry
elevator|lift
apartment|flat
soccer ball|football ball
stove|cooker
gas station|petrol station
carpet|rug
purse|handbag
hot dog|hotdog
teddy bear|teddy
traffic light|stoplight|traffic signal
stop sign|stopsign
remote|remote control
computer mouse|mouse
tap|faucet
sidewalk|pavement
shop|store
garbage|trash|rubbish
autumn|fall
math|mathematics|maths
dad|father
mom|mother|mum
bunny|rabbit
carbon dioxide|co2|co^{2}|co_2
water|h2o|h_2o
oxygen|o2|o_2|oxygen gas
nitrogen|n2|n_2|nitrogen gas
hydrogen|h2|h_2|hydrogen gas
sodium chloride|nacl|table salt
methane|ch4|ch_4
ammonia|nh3|nh_3
ok|okay
centimeter|cm
kilogram|kg
wood|wooden
gold|golden
wool|woolen|woollen
metal|metallic
""".strip().splitlines()


def _table() -> dict[str, str]:
    table: dict[str, str] = {}
    for group in _GROUPS:
        names = group.split("|")
        table.update(dict.fromkeys(names, names[0]))
    return table


ALIASES = _table()
HAN_CLASSIFIERS = re.compile(
    r"^(?:一|这|那|两|三|几)(?:只|个|条|匹|头|辆|本|张|棵|朵|位|名|把|块|台|架|艘|座|栋|双|件|根|片|群|种|杯"
    r"|碗|瓶|盘|颗|粒|幅|支|枝)"
)

from mmpr import Certainty, Outcome, Question, Verdict


def last_word(question: Question, response: str) -> Verdict:
    """Right where the last word is the reference answer."""
    word = response.split()[-1].strip(".").lower() if response.split() else None
    if word is None:
        return Verdict(Outcome.UNPARSED, None, "empty")
    if word in {answer.lower() for answer in question.answer or ()}:
        return Verdict(Outcome.CORRECT, word, "last-word")
    return Verdict(Outcome.INCORRECT, word, "last-word", certainty=Certainty.PROVEN)


last_word.name, last_word.version = "last word", "1"

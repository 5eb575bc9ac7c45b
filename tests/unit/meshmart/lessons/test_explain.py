"""What a lesson says of an outcome: the measurement decides which answer was right."""

from typing import Any

import pytest

from meshmart.lessons.explain import explain
from meshmart.lessons.model import lessons
from meshmart.tour.check import Check, Outcome


def told(*checks: Check, problem: str = "", starved: str = "") -> dict[str, Any]:
    return Outcome("x", checks, problem, 1.0, starved).as_dict()


def of_storm(retries: int) -> dict[str, Any]:
    return told(
        Check("reads that failed meanwhile", 700, 1, relation=">="),
        Check("retries", retries, 1, relation=">="),
        Check(f"extra load of {retries / 9:.1f} %: retries of 900 reads", retries, 180),
        Check("until no read fails any more", 0.25, 1.0, " s"),
    )


@pytest.mark.parametrize(("retries", "answer"), [(180, 2), (181, 1), (900, 1), (2391, 0)])
def test_the_measured_figure_says_which_answer_was_right(retries: int, answer: int) -> None:
    assert explain(lessons()["retry-storm"], of_storm(retries)).answer == answer


def test_the_explanation_has_the_measured_figures() -> None:
    first, second = explain(lessons()["retry-storm"], of_storm(162)).text
    assert first == (
        "700 reads failed, but the client sent only 162 retries: extra load of 18.0 %: retries of 900 reads. "
        "The budget allowed <= 180."
    )
    assert second == "When the service was well, reads succeeded after 0.250 s."


def test_one_call_is_not_told_as_several() -> None:
    outcome = told(Check("failed reads of 9", 1, 1), Check("calls retried", 1, 0, relation=">="))
    assert explain(lessons()["kill"], outcome).text[0] == (
        "1 read failed (failed reads of 9). The killed replica had been serving 1 read, retried on another "
        "replica."
    )


def test_a_missed_bound_is_explained_as_one() -> None:
    (text,) = explain(lessons()["retry-storm"], of_storm(2391)).text
    assert text.startswith("The client sent 2391 retries (extra load of 265.7 %: retries of 900 reads)")


def test_what_was_not_measured_is_said_to_say_little() -> None:
    outcome = told(Check("failed reads of 10", 3, 0, relation="=="), starved="product/1 waited 9 s for a CPU")
    text = explain(lessons()["kill"], outcome).text
    assert text[-1] == (
        "The figures are not reliable: product/1 waited 9 s for a CPU. Play the lesson again."
    )
    assert "no figure" in text[0]


def test_what_could_not_be_played_confirms_no_answer() -> None:
    said = explain(lessons()["kill"], told(problem="no cluster is running"))
    assert said.answer is None
    assert said.text == ("The experiment could not be played to its end: no cluster is running",)


def test_figures_of_one_name_are_counted() -> None:
    intruder = lessons()["intruder"]

    def of(*refused: int) -> int | None:
        names = ("no certificate", "a certificate of a foreign CA", "TLS 1.2", "the workload outsider")
        pairs = zip(names, refused, strict=False)
        return explain(
            intruder, told(*(Check(f"refused: {n}", r, 1, relation="==") for n, r in pairs))
        ).answer

    assert of(1, 1, 1, 1) == 0
    assert of(1, 1, 1, 0) == 1
    assert of(0, 0, 1, 0) == 2
    assert of() is None


def test_a_figure_that_json_has_not_confirms_no_answer() -> None:
    outcome = told(Check("failed reads of 10", 0, 0, relation="=="))
    outcome["checks"][0]["measured"] = None  # infinity or NaN
    assert explain(lessons()["kill"], outcome).answer is None

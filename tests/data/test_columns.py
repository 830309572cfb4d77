"""Columns for roles: what is said wins, known names are recognised, doubt is an error that names the key."""

from __future__ import annotations

import pytest

from tasks.config.errors import DataError
from tasks.data.rows.columns import LABEL, PLAIN, SOURCE, TARGET, TEXT, TEXT_PAIR, choose

ROLES = (TEXT, TEXT_PAIR, LABEL)


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (["text", "label"], {"text": "text", "label": "label"}),
        (["Review", "Stars", "id"], {"text": "Review", "label": "Stars"}),
        (["text", "title", "body", "label", "file"], {"text": "text", "label": "label"}),
        (["premise", "hypothesis", "label"], {"text": "premise", "text_pair": "hypothesis", "label": "label"}),
        (["sentence1", "hypothesis", "label"], {"text": "sentence1", "label": "label"}),
        (["sentence2", "label", "sentence1"], {"text": "sentence1", "text_pair": "sentence2", "label": "label"}),
        (["question", "sentence", "label"], {"text": "question", "text_pair": "sentence", "label": "label"}),
        (["text", "question", "label"], {"text": "text", "label": "label"}),
        (
            ["question1", "question2", "is_duplicate"],
            {"text": "question1", "text_pair": "question2", "label": "is_duplicate"},
        ),
        (["text1", "text2", "label"], {"text": "text1", "text_pair": "text2", "label": "label"}),
        (["text", "text_pair", "label"], {"text": "text", "text_pair": "text_pair", "label": "label"}),
        (["review", "text_pair", "label"], {"text": "review", "text_pair": "text_pair", "label": "label"}),
        (["review", "sentiment"], {"text": "review", "label": "sentiment"}),
        (["id", "comment_text", "label", "sentiment"], {"text": "comment_text", "label": "label"}),
    ],
)
def test_known_names(columns: list[str], expected: dict[str, str]) -> None:
    assert choose(columns, {"text": None}, ROLES) == expected


def test_what_is_said_wins() -> None:
    wanted = {"text": "title", "label": "genre", "text_pair": None}
    assert choose(["text", "title", "label", "genre"], wanted, ROLES) == {"text": "title", "label": "genre"}
    # one text was named: the other half of the pair is not guessed
    assert choose(["sentence1", "sentence2", "label"], {"text": "sentence1"}, ROLES) == {
        "text": "sentence1",
        "label": "label",
    }


def test_a_column_said_for_one_role_is_not_guessed_for_another() -> None:
    assert choose(["text", "content", "label"], {"label": "content"}, ROLES) == {"text": "text", "label": "content"}


@pytest.mark.parametrize(
    ("columns", "wanted", "said"),
    [
        (
            ["body", "label", "__row"],
            {"text": "bdy"},
            "data.columns.text: no column 'bdy'; the columns are 'body', 'label'; did you mean 'body'?",
        ),
        (["text", "review", "label"], {}, "data.columns.text: several columns match: 'text', 'review'; set it"),
        (["text", "stars", "label"], {}, "data.columns.label: several columns match: 'stars', 'label'"),
        (["title", "label"], {}, "data.columns.text: not set, and none of the columns 'title', 'label' has"),
        (["a", "b"], {"text": "a", "label": "a"}, "data.columns.text: column 'a' is already used as data"),
    ],
)
def test_doubt_is_an_error(columns: list[str], wanted: dict[str, str | None], said: str) -> None:
    with pytest.raises(DataError) as caught:
        choose(columns, wanted, ROLES)
    assert str(caught.value).startswith(said)


def test_a_pairs_names_do_not_hide_a_single_text() -> None:
    assert choose(["question", "sentence"], {}, (PLAIN, TEXT_PAIR)) == {"text": "sentence"}
    assert choose(["prompt", "completion"], {}, (SOURCE, TARGET)) == {"source": "prompt", "target": "completion"}

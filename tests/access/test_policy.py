from __future__ import annotations

from typing import Any

import pytest

from jupyter_mlserve.access import Action, Policy, Principal
from jupyter_mlserve.access.policy import ACTIONS
from jupyter_mlserve.contract.errors import NotAllowed, NotAuthenticated

ANN = Principal("ann", "Ann", "jupyter")
ADMIN = Principal("admin", "Admin", "local", administrator=True)
PERSONAL: tuple[Action, ...] = ("batch", "session", "snapshot")
NOBODY = None

# who, what, author (for publish: owner of the name), owner of the name -> may they
MATRIX: list[tuple[Principal | None, Action, str | None, str | None, bool]] = [
    (ANN, "list", "bob", "bob", True),
    (ANN, "consume", "bob", "bob", True),
    (ANN, "publish", None, None, True),
    (ANN, "publish", "ann", None, True),
    (ANN, "publish", "bob", None, False),
    *(
        case
        for action in ("update", "delete", "see_code")
        for case in (
            (ANN, action, "ann", None, True),
            (ANN, action, "ann", "bob", True),
            (ANN, action, "bob", "ann", True),
            (ANN, action, "bob", "bob", False),
            (ANN, action, "bob", None, False),
            (ANN, action, "Ann", "ANN", False),
            (ANN, action, None, None, False),
        )
    ),
    *(
        case
        for action in PERSONAL
        for case in (
            (ANN, action, "ann", None, True),
            (ANN, action, "ann", "bob", True),
            (ANN, action, "bob", None, False),
            (ANN, action, "bob", "ann", False),  # records of others, also of who calls one's own
            (ANN, action, "Ann", "ann", False),
            (ANN, action, None, "ann", False),
            (ADMIN, action, "admin", None, True),
            (ADMIN, action, "bob", "bob", False),
        )
    ),
    (ANN, "administer", None, None, False),
    (ANN, "administer", "ann", "ann", False),
    *((ADMIN, action, "bob", "bob", True) for action in ACTIONS if action not in PERSONAL),
    *((NOBODY, action, None, None, False) for action in ACTIONS),
    *((NOBODY, action, "ann", "ann", False) for action in ACTIONS),
]


@pytest.mark.parametrize(("who", "action", "owner", "name_owner", "allowed"), MATRIX)
def test_who_may_do_what(
    who: Principal | None, action: Action, owner: str | None, name_owner: str | None, allowed: bool
) -> None:
    decision = Policy().may(who, action, owner, name_owner)
    assert decision.allowed is allowed
    assert decision.why.endswith(".")
    if allowed:
        assert Policy().require(who, action, owner, name_owner) == who
    else:
        with pytest.raises((NotAllowed, NotAuthenticated)) as error:
            Policy().require(who, action, owner, name_owner)
        assert type(error.value) is (NotAllowed if who else NotAuthenticated)
        assert error.value.message == decision.why


def test_every_action_is_in_the_matrix() -> None:
    assert {action for _, action, *_ in MATRIX} == set(ACTIONS)


def test_a_display_name_opens_nothing() -> None:
    """Users choose it themselves."""
    impostor = Principal("eve", "ann", "jupyter")
    assert not Policy().may(impostor, "delete", "ann", "ann").allowed


def test_a_refusal_names_the_owner_and_the_asker() -> None:
    why = Policy().may(ANN, "delete", "bob").why
    assert why == "It belongs to bob, so ann may not delete it."


@pytest.mark.parametrize(
    ("action", "name_owner", "about", "message"),
    [
        (
            "delete",
            "bob",
            "Service 'C'",
            "Service 'C' belongs to bob; only bob or an administrator may delete it.",
        ),
        (
            "update",
            "eve",
            "Service 'C'",
            "Service 'C' belongs to bob; only bob, eve (who owns the "
            "name) or an administrator may change it.",
        ),
        (
            "publish",
            None,
            "The name 'C'",
            "The name 'C' belongs to bob; only bob or an "
            "administrator may publish under it. Choose another name.",
        ),
    ],
)
def test_a_refusal_about_something_names_it_and_who_may(
    action: Action, name_owner: str | None, about: str, message: str
) -> None:
    with pytest.raises(NotAllowed) as caught:
        Policy().require(ANN, action, "bob", name_owner, about)
    assert caught.value.message == message


def test_an_unknown_action_is_a_mistake_of_ours() -> None:
    action: Any = "destroy"
    with pytest.raises(ValueError, match="destroy"):
        Policy().may(ANN, action)

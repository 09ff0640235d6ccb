"""Dedicated pools in the catalog: rows before definitions, bounds, durability."""

from __future__ import annotations

from typing import Any

import pytest

from jupyter_mlserve.contract.errors import Conflict, StaleState, VersionDeleted
from jupyter_mlserve.store import Catalog
from jupyter_mlserve.store.models import Pool, PoolLimits


def with_pool(define: Any, initial: int, maximum: int, **more: Any) -> Any:
    own = {"objects": [], "pool": {"initial": initial, "max": maximum}}
    return {**define(**more), "mlserve": own}


def test_a_row_goes_before_the_definition(catalog: Catalog, define: Any) -> None:
    catalog.publish("s1", with_pool(define, 1, 2), "h", "ann")
    assert catalog.get("Tx", "1.0").pool == Pool(1, 2)
    assert [state.pool for state in catalog.pooled()] == [Pool(1, 2)]
    before = catalog.revision()
    assert catalog.set_pool("Tx", "1.0", Pool(3, 0), "bob", "s1").pool == Pool(3, 0)
    assert catalog.get("Tx", "1.0").pool == Pool(3, 0)
    assert catalog.changes(before) == [("Tx", "1.0")]  # others see it
    last = catalog.history("Tx")[-1]
    assert (last.action, last.who, last.state_id) == ("pool", "bob", "s1")
    # It stays through updates and rollbacks; asking for what is there changes nothing.
    catalog.update("s2", "Tx", "1.0", with_pool(define, 1, 2, a=1), "h2", "ann", "s1")
    assert catalog.rollback("Tx", "1.0", None, "ann").id == "s1"
    assert [state.pool for state in catalog.pooled()] == [Pool(3, 0)]
    before = catalog.revision()
    catalog.set_pool("Tx", "1.0", Pool(3, 0), "ann")
    assert catalog.revision() == before
    # None, though the definition has one.
    catalog.set_pool("Tx", "1.0", None, "ann")
    assert catalog.newest("Tx").pool is None
    assert catalog.pooled() == []
    # A new one in the definition is meant.
    catalog.update("s3", "Tx", "1.0", with_pool(define, 0, 5), "h3", "ann", "s1")
    assert catalog.get("Tx", "1.0").pool == Pool(0, 5)
    with pytest.raises(StaleState):
        catalog.set_pool("Tx", "1.0", Pool(1, 1), "ann", "s1")


def test_it_goes_with_the_version(catalog: Catalog, define: Any, db_url: str) -> None:
    catalog.publish("s1", define(), "h", "ann")
    catalog.set_pool("Tx", "1.0", Pool(1, 2), "ann")
    with Catalog(db_url) as again:
        assert [state.pool for state in again.pooled()] == [Pool(1, 2)]
    catalog.delete("Tx", "1.0", "ann")
    assert catalog.pooled() == []
    with pytest.raises(VersionDeleted):
        catalog.set_pool("Tx", "1.0", Pool(1, 2), "ann")
    catalog.publish("s2", define(), "h", "ann")
    assert catalog.get("Tx", "1.0").pool is None


def test_all_together_are_bounded(db_url: str, define: Any) -> None:
    with Catalog(db_url, PoolLimits(default=3, most=6)) as catalog:
        catalog.publish("a", with_pool(define, 1, 2, name="A"), "h", "ann")
        # Not what only looks like one.
        catalog.publish("b", define(name="B", code='x = {"pool":{"max":9}}'), "h", "ann")
        catalog.publish("c", define(name="C"), "h", "ann")
        catalog.set_pool("B", "1.0", Pool(1, 0), "ann")
        with pytest.raises(Conflict, match=r"2 workers for C 1\.0 .* have 5, .* have 6 "):
            catalog.set_pool("C", "1.0", Pool(0, 2), "ann")
        with pytest.raises(Conflict, match="max_dedicated_workers"):
            catalog.publish("d", with_pool(define, 0, 2, name="D"), "h", "ann")
        with pytest.raises(Conflict):
            catalog.update("a2", "A", "1.0", with_pool(define, 0, 4, name="A"), "h", "ann", "a")
        catalog.set_pool("C", "1.0", Pool(1, 1), "ann")
        catalog.set_pool("A", "1.0", Pool(0, 1), "ann")
        assert [state.pool for state in catalog.pooled()] == [Pool(0, 1), Pool(1, 0), Pool(1, 1)]
    # A limit that was lowered takes nothing away from those who have it.
    with Catalog(db_url, PoolLimits(default=3, most=1)) as catalog:
        catalog.set_pool("B", "1.0", Pool(2, 2), "ann")
        with pytest.raises(Conflict):
            catalog.set_pool("B", "1.0", Pool(2, 3), "ann")

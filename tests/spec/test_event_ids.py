"""The ids of events: made quickly, and the ones that anybody makes with the standard library."""

import uuid

from hypothesis import given
from hypothesis import strategies as st

from schemas.chain import id_of

NAMESPACE = uuid.UUID("6f1f0c39-5f0e-5d8e-9b61-7a1f3a0f7e55")


@given(st.text(max_size=200).filter(str.isprintable))
def test_an_id_is_the_uuid5_of_its_name(name: str) -> None:
    assert id_of(name) == str(uuid.uuid5(NAMESPACE, name))

import pyarrow as pa
import pytest

from sweep.store.layout import KEYS, SCHEMA_VERSION
from sweep.store.schema import TABLES, field, schema_version, table_name


@pytest.mark.parametrize("name", TABLES)
def test_every_column_has_a_sentence(name: str):
    """Each column of each table is described by one sentence."""
    for column in TABLES[name]:
        text = column.metadata[b"description"].decode()
        assert text.endswith("."), column.name
        assert ". " not in text, column.name


@pytest.mark.parametrize("name", TABLES)
def test_schema_names_itself(name: str):
    """A schema carries its table's name, its version and the package's version."""
    schema = TABLES[name]
    assert table_name(schema) == name
    assert schema_version(schema) == SCHEMA_VERSION == 1
    assert schema.metadata[b"mopoe_sweep_version"].decode()[0].isdigit()


@pytest.mark.parametrize("name", TABLES)
def test_key_opens_the_table(name: str):
    """The key is the first columns of its table."""
    assert tuple(TABLES[name].names[: len(KEYS[name])]) == KEYS[name]


def test_unit_is_kept_beside_the_description():
    """A column with a unit carries both; one without carries the description alone."""
    assert field("x", pa.int32(), "A count.", "steps").metadata == {
        b"description": b"A count.",
        b"unit": b"steps",
    }
    assert field("x", pa.int32(), "A count.").metadata == {b"description": b"A count."}


def test_foreign_file_has_version_zero():
    """A schema that says nothing of its version counts as version 0."""
    assert schema_version(pa.schema([("x", pa.int32())])) == 0

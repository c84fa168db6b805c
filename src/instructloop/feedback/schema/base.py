"""What every table shares: names of constraints, column types, and checks instead of native enumerations.

Times are UTC milliseconds (integers). Identifiers are UUIDv7 text. Open-ended extras are JSON; whatever statistics or training
read has a column of its own.
"""

from collections.abc import Sequence
from typing import Annotated, Any

from sqlalchemy import JSON, BigInteger, CheckConstraint, ForeignKey, MetaData, String
from sqlalchemy.orm import DeclarativeBase, mapped_column

from instructloop.feedback.ids import new_id, now_ms

Id = Annotated[str, mapped_column(String(36), primary_key=True, default=new_id)]
Key = Annotated[str, mapped_column(String(200))]
Sha = Annotated[str, mapped_column(String(71))]
"""``sha256:<hex>``."""
Millis = Annotated[int, mapped_column(BigInteger)]
Created = Annotated[int, mapped_column(BigInteger, default=now_ms)]
Json = Annotated[dict[str, Any], mapped_column(JSON, default=dict)]
JsonList = Annotated[list[Any], mapped_column(JSON, default=list)]


class Base(DeclarativeBase):
    """Base of all tables; the naming convention lets migrations drop constraints by name on every engine."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


def one_of(column: str, values: Sequence[str]) -> CheckConstraint:
    """A CHECK that a text column holds one of ``values`` (NULL passes: nullability is the column's own affair)."""
    listed = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} IN ({listed})", name=f"{column}_is_known")


def between(column: str, low: int, high: int) -> CheckConstraint:
    """A CHECK that an integer column lies in ``low..high``, both included."""
    return CheckConstraint(f"{column} BETWEEN {low} AND {high}", name=f"{column}_in_range")


def reference(target: str) -> ForeignKey:
    """A foreign key that refuses to orphan: rows of people's work are never deleted by a cascade."""
    return ForeignKey(target, ondelete="RESTRICT")

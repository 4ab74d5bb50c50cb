"""Declares a resource type: its attributes, relationships, sorts and filters."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from typing import Any, NamedTuple

JSON = Any  # a value that JSON can carry; mypy cannot check recursion in all the places that need it


class Kind(Enum):
    """What an attribute holds, by its name in JSON Schema terms."""

    TEXT = "string"
    BOOLEAN = "boolean"
    TIMESTAMP = "date-time"


@dataclass(frozen=True, slots=True)
class Attribute:
    """One attribute of a resource type.

    `asks` tells in JSON Schema's words what a value has to be besides; it is described, not checked.
    """

    name: str
    kind: Kind = Kind.TEXT
    nullable: bool = False
    required: bool = False
    on_create: bool = False
    on_update: bool = False
    choices: tuple[str, ...] = ()
    description: str = ""
    example: JSON = None
    asks: Mapping[str, JSON] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AttributeFamily:
    """Attributes that differ by their number alone: `custom_1` to `custom_150`."""

    prefix: str
    highest: int
    each: Attribute

    def members(self) -> tuple[Attribute, ...]:
        """Return the attributes of the family in the order of their numbers."""
        return tuple(
            Attribute(
                name=f"{self.prefix}{number}",
                kind=self.each.kind,
                nullable=self.each.nullable,
                on_create=self.each.on_create,
                on_update=self.each.on_update,
                description=self.each.description,
            )
            for number in range(1, self.highest + 1)
        )


@dataclass(frozen=True, slots=True)
class Relationship:
    """One relationship of a resource type.

    `linked` says that the relationship object carries `links.self`, `includable` that `include` may name
    it, `required` that a create without it has no shape, `on_create` and `on_update` that a request may
    carry its linkage.
    """

    name: str
    target: str
    to_many: bool = False
    linked: bool = False
    includable: bool = False
    required: bool = False
    on_create: bool = False
    on_update: bool = False
    description: str = ""


class Places(list[Any]):
    """The placeholders of a filter's values, in a statement with so many for `sites`, 0 for a list."""

    def __init__(self, places: Iterable[Any], *, sites: int) -> None:
        super().__init__(places)
        self.sites = sites


@dataclass(frozen=True, slots=True)
class Filter:
    """One filter of a collection.

    `values` turns the text of the query, for the sites asked about, into the values to bind, or None where
    the text says nothing; `condition` turns as many placeholders into what the storage understands. Two
    filters of one name and as many values are one statement, so that each is built once; `of_list` is the
    condition for any larger number of values, from placeholders for their list and for their number, so that
    a statement does not grow with what is asked. `selective` says
    that an index finds the few that pass, and sorting these beats walking all in order. `walk` names an
    index that holds those that pass in the default order, `count` counts them without walking them, and
    `probe` is the condition for walking all where too many pass; what these are is the storage's affair.
    `grade` is the class of the contract (A, B or X), where it gives one.
    """

    name: str
    meaning: str
    values: Callable[[str, tuple[int, ...]], Sequence[Any] | None]
    condition: Callable[[Places], Any]
    example: str = ""
    of_list: Callable[[Any, Any], Any] | None = None
    selective: bool = False
    walk: Any = None
    probe: Callable[[Places], Any] | None = None
    count: Callable[..., int | None] | None = None
    grade: str = ""


@dataclass(frozen=True, eq=False)
class ResourceType:
    """A resource type as JSON:API knows it; routes, parsing, writing and OpenAPI follow from it.

    `withdrawn_filters` once meant something: they are ignored, by a strict server too.
    """

    name: str
    description: str
    attributes: tuple[Attribute | AttributeFamily, ...]
    relationships: tuple[Relationship, ...] = ()
    sorts: tuple[str, ...] = ()
    default_sort: str = ""
    filters: tuple[Filter, ...] = ()
    withdrawn_filters: tuple[str, ...] = ()
    links: Mapping[str, str] = field(default_factory=dict)
    page_size: int = 30
    page_cap: int = 1000
    example_id: str = "1"
    extension: bool = False

    @property
    def singular(self) -> str:
        """The alias that sparse fieldsets accept: `contact` for `contacts`."""
        return self.name.removesuffix("s")

    @cached_property
    def flat_attributes(self) -> tuple[Attribute, ...]:
        """Every attribute in the order of emission, the members of families among them."""
        flat: list[Attribute] = []
        for each in self.attributes:
            flat.extend(each.members() if isinstance(each, AttributeFamily) else [each])
        return tuple(flat)

    @cached_property
    def on_create(self) -> dict[str, tuple[int, Attribute]]:
        """The attributes that a create accepts, by name, each with its place in the emission order."""
        return {each.name: (place, each) for place, each in enumerate(self.flat_attributes) if each.on_create}

    @cached_property
    def on_update(self) -> dict[str, tuple[int, Attribute]]:
        """The attributes that an update accepts, by name, each with its place in the emission order."""
        return {each.name: (place, each) for place, each in enumerate(self.flat_attributes) if each.on_update}

    @cached_property
    def filters_by_name(self) -> dict[str, Filter]:
        """The filters by name."""
        return {each.name: each for each in self.filters}

    @cached_property
    def includable(self) -> dict[str, Relationship]:
        """The relationships that `include` may name, by name."""
        return {each.name: each for each in self.relationships if each.includable}


class Record(NamedTuple):
    """A stored resource, ready to be written.

    `linkage` has an id, None or a sequence of ids for each relationship of the type.
    """

    id: int
    attributes: dict[str, JSON]
    linkage: Mapping[str, int | Sequence[int] | None]

"""The part of a region's computation that does not depend on parameters.

Every value of a region is an affine form in independent standard-normal noise.  In a row of scope s
the forms have the columns x = [own | state | outer]: the noise of the row itself, in a sequence the
earlier values that the step looks back at, and the x of the enclosing row.  Which columns there
are, and which rows have equal forms, is worked out here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from pgem.arrays import Floats, Integers, Mask
from pgem.routines.collect import ScopeData
from pgem.routines.region_groups import Composition, Groups, as_slice, number_rows
from pgem.routines.region_nodes import (
    ChainLayout,
    Nodes,
    number_ancestries,
    number_branches,
    number_nodes,
)
from pgem.routines.region_parts import Link, Member, Piece


@dataclass(eq=False)
class LinkLayout:
    """A link with the rows and columns that it reads.

    Attributes:
        link: as declared.
        rows: the parent's row of each row of the piece; None: the same rows.
        design: the parent's design of each form group (lag 0).
        columns: columns of x with the parent's free coordinates (lag > 0).
        free: the parent's free coordinates.
        scale: the link's scale in each form group.
    """

    link: Link
    rows: Integers | None
    design: Groups | None
    columns: Integers | None
    free: Integers
    scale: Floats | None


@dataclass(eq=False)
class Designs:
    """Combinations of form, kernel and spread that occur among the rows of a piece.

    Attributes:
        form: form group of each.
        kernel: kernel group of each.
        spread: spread of each.
        n_forms: number of form groups of the piece.
    """

    form: Integers
    kernel: Integers
    spread: Floats
    n_forms: int

    def __len__(self) -> int:
        return len(self.form)

    def __getitem__(self, which: Integers | slice) -> Designs:
        return Designs(self.form[which], self.kernel[which], self.spread[which], self.n_forms)

    @cached_property
    def by_form(self) -> Groups:
        """Designs of equal form."""
        return Groups(self.form, self.n_forms)

    @property
    def share_forms(self) -> bool:
        """Whether few forms serve many designs."""
        return self.n_forms * 4 <= len(self)


@dataclass(eq=False)
class PieceLayout:
    """A piece with its groups of rows.

    Attributes:
        piece: as declared.
        rows: the member's rows that it describes; None: all.
        links: its links.
        codes: rows by coefficient set.
        forms: rows by equal forms of φ.
        form_code: coefficient set of each form group.
        kernels: rows by coefficient set and missing pattern.
        kernel_code: coefficient set of each kernel group.
        shown: which coordinates each kernel group shows [B, d].
        designs: rows by form, kernel and spread.
        design: the designs.
        start: number of the first design among the member's.
        counted: rows of the piece that enter its statistics; None: all.
    """

    piece: Piece
    rows: Integers | None
    links: list[LinkLayout]
    codes: Groups
    forms: Groups
    form_code: Integers
    kernels: Groups
    kernel_code: Integers
    shown: Mask
    designs: Groups
    design: Designs
    start: int
    counted: Integers | None

    @cached_property
    def is_complete(self) -> bool:
        """Whether nothing is missing."""
        return bool(self.shown.all())

    @cached_property
    def is_hidden(self) -> bool:
        """Whether nothing is seen."""
        return not self.shown.any()

    @property
    def stop(self) -> int:
        """The number after that of the last design."""
        return self.start + self.designs.n

    def find(self, designs: Integers) -> tuple[Integers, Integers]:
        """Which of some designs of the member are this piece's, and their numbers here."""
        mine = np.flatnonzero((designs >= self.start) & (designs < self.stop))
        return mine, designs[mine] - self.start

    @cached_property
    def span(self) -> Integers | slice:
        """The member's rows that it describes, a slice where they stand together."""
        return slice(None) if self.rows is None else as_slice(self.rows)

    @cached_property
    def places(self) -> Integers:
        """The member's rows that it describes [R]."""
        return np.arange(len(self.forms.ids)) if self.rows is None else self.rows

    def take(self, values: Floats) -> Floats:
        """The piece's rows of [G, rows of the member, ...]; not to be written to."""
        return values[:, self.span]

    def add(self, total: Floats, values: Floats) -> None:
        """Add values of the piece's rows to those of all rows of the scope."""
        total[:, self.span] += values


@dataclass(eq=False)
class MemberLayout:
    """A member with its columns.

    Attributes:
        member: as declared.
        values: its values with 0 for what is missing.
        seen: what is not missing.
        is_parent: whether some link reads it.
        free: coordinates that are missing somewhere.
        own: its columns among the own noise of its rows.
        lags: how far links look back at it.
        slot: first column of its lagged values in the state.
        pieces: its conditionals.
        designs: design of each row, numbered through all pieces.
        n_designs: number of designs.
    """

    member: Member
    values: Floats
    seen: Mask
    is_parent: bool
    free: Integers
    own: slice
    lags: int
    slot: int
    pieces: list[PieceLayout] = field(default_factory=list)
    designs: Integers = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    n_designs: int = 0

    @cached_property
    def groups(self) -> Groups:
        """Rows by design."""
        return Groups(self.designs, self.n_designs)

    @property
    def has_forms(self) -> bool:
        """Whether its value is random for those who read it."""
        return self.is_parent and len(self.free) > 0


@dataclass(eq=False)
class ScopeLayout:
    """A scope with its columns and groups.

    Attributes:
        name: of the scope.
        data: its rows; None for the top.
        n_rows: number of rows.
        parent: the enclosing scope; None for the top.
        members: its members.
        inner: the scopes inside it.
        own, state, outer: number of columns of each kind.
        local: rows by the designs of all members and the composition of the scopes inside.
        designs: per member, the design in each local group.
        compositions: per scope inside, what the rows hold of it.
        composition: per scope inside, the composition in each local group.
        posterior: rows by equal posterior covariance of x.
        chain: the order of elimination, if the scope is the chain.
    """

    name: str
    data: ScopeData | None
    n_rows: int
    parent: ScopeLayout | None
    members: list[MemberLayout] = field(default_factory=list)
    inner: list[ScopeLayout] = field(default_factory=list)
    own: int = 0
    state: int = 0
    outer: int = 0
    local: Groups = field(default_factory=lambda: Groups(np.zeros(0, dtype=np.int64)))
    designs: dict[str, Integers] = field(default_factory=dict)
    compositions: dict[str, Composition] = field(default_factory=dict)
    composition: dict[str, Integers] = field(default_factory=dict)
    posterior: Groups = field(default_factory=lambda: Groups(np.zeros(0, dtype=np.int64)))
    posterior_local: Integers = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    posterior_outer: Integers = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    chain: ChainLayout | None = None

    @property
    def size(self) -> int:
        """Number of columns of x."""
        return self.own + self.state + self.outer

    @property
    def is_leaf(self) -> bool:
        """Whether it adds no columns to those of the enclosing scope, and holds no other."""
        return self.parent is not None and not (self.own or self.chain or self.inner)

    @property
    def parent_rows(self) -> Integers:
        """Enclosing row of each row."""
        assert self.data is not None
        return self.data.parent


class Layout:
    """Columns and groups of a whole region (see `RegionLayout` for the arguments)."""

    def __init__(
        self,
        members: Sequence[Member],
        scopes: Mapping[str, ScopeData],
        parents: Mapping[str, str],
        top: str,
        n_top: int,
        chain: str | None,
    ) -> None:
        self.chain, self.n_top = chain, n_top
        self.scopes = _order_scopes(scopes, parents, top, n_top)
        self.members: dict[str, MemberLayout] = {}
        self._place_columns(members)
        for scope in self.scopes.values():
            for layout in scope.members:
                self._lay_out(layout)
        for scope in reversed(self.scopes.values()):
            _group_locally(scope, chain)
        for scope in self.scopes.values():
            _group_posteriors(scope)

    def _place_columns(self, members: Sequence[Member]) -> None:
        """Own noise and state columns."""
        lags: dict[str, int] = {}
        for member in members:
            for piece in member.pieces:
                for link in piece.links:
                    lags[link.parent] = max(link.lag, lags.get(link.parent, 0))
        for member in members:
            scope = self.scopes[member.scope]
            seen = ~np.isnan(member.values)
            free = np.flatnonzero(~seen.all(axis=0))
            is_parent = member.name in lags
            n_own = len(free) if is_parent else 0
            layout = MemberLayout(
                member,
                np.where(seen, member.values, 0.0),
                seen,
                is_parent,
                free,
                slice(scope.own, scope.own + n_own),
                lags.get(member.name, 0),
                scope.state,
            )
            scope.own += n_own
            scope.state += n_own * layout.lags
            scope.members.append(layout)
            self.members[member.name] = layout
        for scope in self.scopes.values():
            scope.outer = scope.parent.size if scope.parent else 0

    def _lay_out(self, layout: MemberLayout) -> None:
        """Groups of all pieces of a member."""
        scope = self.scopes[layout.member.scope]
        layout.designs = np.zeros(scope.n_rows, dtype=np.int64)
        patterns = _number_patterns(layout.seen)
        for piece in layout.member.pieces:
            placed = self._lay_out_piece(layout, piece, scope, patterns)
            ids = placed.designs.ids + placed.start
            layout.designs[slice(None) if placed.rows is None else placed.rows] = ids
            layout.n_designs = placed.stop
            layout.pieces.append(placed)

    def _lay_out_piece(
        self, layout: MemberLayout, piece: Piece, scope: ScopeLayout, patterns: Integers
    ) -> PieceLayout:
        rows = np.arange(scope.n_rows) if piece.rows is None else piece.rows
        n, shown = len(rows), layout.seen[rows]
        code = np.zeros(n, dtype=np.int64) if piece.code is None else piece.code
        spread = np.ones(n) if piece.spread is None else piece.spread
        sources = [self._source_rows(link, scope, rows) for link in piece.links]
        links = list(zip(piece.links, sources, strict=True))
        forms = Groups(number_rows(n, [code, *self._form_keys(links)]))
        kernels = Groups(number_rows(n, [code, patterns[rows]]))
        designs = Groups(number_rows(n, [forms.ids, kernels.ids, spread]))
        first = designs.first
        counted = layout.is_parent or bool(shown.any(axis=1).all())
        return PieceLayout(
            piece=piece,
            rows=piece.rows,
            links=[self._link_layout(link, scope, source, forms) for link, source in links],
            codes=Groups(code, 1 if n and int(code.max()) == 0 else None),
            forms=forms,
            form_code=code[forms.first],
            kernels=kernels,
            kernel_code=code[kernels.first],
            shown=shown[kernels.first],
            designs=designs,
            design=Designs(forms.ids[first], kernels.ids[first], spread[first], forms.n),
            start=layout.n_designs,
            counted=None if counted else np.flatnonzero(shown.any(axis=1)),
        )

    def _form_keys(self, links: Sequence[tuple[Link, Integers]]) -> Iterator[Floats | Integers]:
        """Columns that tell forms of φ apart."""
        for link, source in links:
            parent = self.members[link.parent]
            if not parent.has_forms:
                continue
            if link.lag == 0:
                yield parent.designs[source]
            if link.scale is not None:
                yield from link.scale.T if link.contracts else [link.scale]

    def _source_rows(self, link: Link, scope: ScopeLayout, rows: Integers) -> Integers:
        """The parent's row of each row."""
        target = self.members[link.parent].member.scope
        while scope.name != target:
            rows = scope.parent_rows[rows]
            assert scope.parent is not None
            scope = scope.parent
        if link.lag:
            assert target == self.chain, "a link looks back outside the chain"
            assert scope.data is not None
            rows = scope.data.earlier(link.lag)[rows]
            assert (rows >= 0).all(), "a link looks back before the start"
        return np.asarray(rows)

    def _link_layout(
        self, link: Link, scope: ScopeLayout, source: Integers, forms: Groups
    ) -> LinkLayout:
        parent = self.members[link.parent]
        home = self.scopes[parent.member.scope]
        design = columns = None
        if link.lag:
            first = scope.size - home.size + home.own + parent.slot
            columns = first + (link.lag - 1) * len(parent.free) + np.arange(len(parent.free))
        elif parent.has_forms:
            design = Groups(parent.designs[source[forms.first]])
        same = len(source) == home.n_rows and np.array_equal(source, np.arange(home.n_rows))
        scale = None if link.scale is None else link.scale[forms.first]
        return LinkLayout(link, None if same else source, design, columns, parent.free, scale)


def _order_scopes(
    scopes: Mapping[str, ScopeData], parents: Mapping[str, str], top: str, n_top: int
) -> dict[str, ScopeLayout]:
    """All scopes, enclosing ones first."""
    found = {top: ScopeLayout(top, None, n_top, None)}
    waiting = [name for name in scopes if name != top]
    while waiting:
        name = next(name for name in waiting if parents[name] in found)
        parent = found[parents[name]]
        found[name] = ScopeLayout(name, scopes[name], scopes[name].n_rows, parent)
        parent.inner.append(found[name])
        waiting.remove(name)
    return found


def _number_patterns(seen: Mask) -> Integers:
    """Number the missing patterns that occur: [rows, d] → [rows]."""
    varies = np.flatnonzero(~(seen.all(axis=0) | ~seen.any(axis=0)))
    words = []
    for first in range(0, len(varies), 60):
        bits = seen[:, varies[first : first + 60]]
        words.append(bits @ (1 << np.arange(bits.shape[1], dtype=np.int64)))
    return number_rows(len(seen), words)


def _group_locally(scope: ScopeLayout, chain: str | None) -> None:
    """Local groups, after those of the scopes inside."""
    keys = [layout.designs for layout in scope.members]
    for inner in scope.inner:
        assert inner.data is not None
        if inner.chain:
            made = _compose_roots(inner.chain)
        else:
            made = Composition.of_members(inner.data, inner.local)
        scope.compositions[inner.name] = made
        keys.append(made.ids)
    scope.local = Groups(number_rows(scope.n_rows, keys))
    for layout in scope.members:
        scope.designs[layout.member.name] = layout.designs[scope.local.first]
    for name, made in scope.compositions.items():
        scope.composition[name] = made.ids[scope.local.first]
    if scope.name == chain:
        assert scope.data is not None
        if scope.data.parents is not None:
            back: Nodes = number_branches(scope.local.ids, scope.data)
        else:
            none = np.zeros(len(scope.data.lengths), dtype=np.int64)
            back = number_nodes(scope.local.ids, scope.data.starts, none, from_last=True)
        scope.chain = ChainLayout(scope.data, back, back)


def _compose_roots(chain: ChainLayout) -> Composition:
    """What the enclosing rows hold of a chain: its first step, or the roots of its trees."""
    if not chain.branches:
        return Composition.of_chains(chain.data, chain.back.ids)
    return Composition.of_some(chain.data, chain.roots, chain.back.ids)


def _group_posteriors(scope: ScopeLayout) -> None:
    """Rows by equal posterior covariance, after those of the enclosing scope."""
    if scope.chain:
        assert scope.parent is not None
        chain, back, outer = scope.chain, scope.chain.back, scope.parent.posterior.ids
        if chain.branches:
            initial = outer[chain.data.parent[chain.roots]]
            forth = number_ancestries(back.ids, chain.levels, initial)
        else:
            forth = number_nodes(back.ids, chain.data.starts, outer, from_last=False)
        chain.forth = forth
        scope.posterior = Groups(forth.ids, len(forth.keys))
        scope.posterior_local = back.keys[forth.keys]
        return
    keys = [scope.local.ids]
    if scope.parent:
        keys.append(scope.parent.posterior.ids[scope.parent_rows])
    scope.posterior = Groups(number_rows(scope.n_rows, keys))
    first = scope.posterior.first
    scope.posterior_local = scope.local.ids[first]
    if scope.parent:
        scope.posterior_outer = scope.parent.posterior.ids[scope.parent_rows[first]]

//! Combines what several schemas say about one place: all of them hold (`meet`), or one of several does (`join`).

use std::collections::BTreeMap;

use serde_json::Value;

use super::super::ast::Constraints;
use super::options::Options;
use super::types::Types;
use super::{Member, Reading, Shape};

impl Shape {
    /// Both hold. What only one says counts; where both name a text or a bound, `self` is nearer to the field and wins.
    pub(super) fn meet(mut self, other: Self) -> Self {
        self.types = match (self.types, other.types) {
            // Contradicting types admit no value; the validator says so, the tree just does not choose.
            (Some(one), Some(two)) => Some(one.intersection(two)),
            (one, two) => one.or(two),
        };
        self.implied = self.implied.union(other.implied);
        self.title = self.title.or(other.title);
        self.description = self.description.or(other.description);
        self.default = self.default.or(other.default);
        self.format = self.format.or(other.format);
        self.options = meet_options(self.options, other.options);
        self.constraints = meet_constraints(self.constraints, other.constraints);
        for (name, member) in other.members {
            let met = match self.members.remove(&name) {
                Some(own) => {
                    Member { shape: own.shape.meet(member.shape), required: own.required || member.required }
                }
                None => member,
            };
            self.members.insert(name, met);
        }
        self.closed |= other.closed;
        self.item = match (self.item, other.item) {
            (Some(one), Some(two)) => Some(Box::new(one.meet(*two))),
            (one, two) => one.or(two),
        };
        self.conditional |= other.conditional;
        self
    }

    /// One of `branches` holds too.
    pub(super) fn meet_alternatives(self, branches: Vec<Self>, how: Reading) -> Self {
        // That a value may be null instead is all said by its being nullable.
        let several = branches.iter().filter(|branch| !branch.is_only_null(how)).count() > 1;
        match branches.into_iter().reduce(|one, two| one.join(two, how)) {
            Some(mut joined) => {
                joined.conditional |= several;
                self.meet(joined)
            }
            None => self,
        }
    }

    /// Each of `branches` may hold: they tell of further members, and demand nothing.
    pub(super) fn meet_optional(self, branches: Vec<Self>, how: Reading) -> Self {
        branches.into_iter().fold(self, |shape, branch| {
            let optional = Self { conditional: true, ..Self::default() };
            shape.meet(optional.join(branch, how))
        })
    }

    /// One or the other holds: types and options add up, what only one says is no promise.
    fn join(self, other: Self, how: Reading) -> Self {
        // What is said of texts or numbers, as `format`, goes for all of them still: null is none.
        if self.is_only_null(how) {
            return other.or_null(how);
        }
        if other.is_only_null(how) {
            return self.or_null(how);
        }
        let (left, right) = (self.meant_types(how), other.meant_types(how));
        let (left_objects, right_objects) = (admits_objects(left), admits_objects(right));
        let types = left.zip(right).map(|(one, two)| one.union(two));
        let implied = self.implied.union(other.implied);
        Self {
            types,
            // Where one side says nothing, what the other is about is no type; only that it is about objects tells of their members.
            implied: if types.is_some() || how == Reading::Earlier {
                implied
            } else {
                implied.intersection(Types::OBJECT)
            },
            title: agreed(self.title, other.title),
            description: agreed(self.description, other.description),
            default: agreed(self.default, other.default),
            format: agreed(self.format, other.format),
            options: self.options.zip(other.options).map(|(one, two)| one.join(two)),
            constraints: agreed(Some(self.constraints), Some(other.constraints)).unwrap_or_default(),
            members: join_members(
                Side { members: self.members, objects: left_objects, closed: self.closed },
                Side { members: other.members, objects: right_objects, closed: other.closed },
                how,
            ),
            closed: (self.closed || !left_objects) && (other.closed || !right_objects),
            item: match (self.item, other.item) {
                (Some(one), Some(two)) => Some(Box::new(one.join(*two, how))),
                (one, two) => one.or(two),
            },
            conditional: self.conditional || other.conditional,
        }
    }

    /// The same, or null.
    fn or_null(mut self, how: Reading) -> Self {
        self.types = self.meant_types(how).map(|types| types.union(Types::NULL));
        self.options = self.options.map(|options| options.join(Options::of(vec![Value::Null])));
        self
    }

    fn is_only_null(&self, how: Reading) -> bool {
        how != Reading::Earlier && self.meant_types(how) == Some(Types::NULL)
    }

    /// The types a branch names, or the ones its values and other keywords are about; `None` when it says nothing at all.
    fn meant_types(&self, how: Reading) -> Option<Types> {
        let types = self.types.unwrap_or(self.implied);
        let types = match how {
            Reading::Today | Reading::Names => types.narrowed_to(self.options.as_ref()),
            Reading::Earlier => types,
        };
        (types != Types::NONE).then_some(types)
    }
}

fn admits_objects(types: Option<Types>) -> bool {
    types.is_none_or(|types| types.contains(Types::OBJECT))
}

/// What both say; `None` when they say different things or one says nothing.
fn agreed<T: PartialEq>(one: Option<T>, two: Option<T>) -> Option<T> {
    one.filter(|value| Some(value) == two.as_ref())
}

/// What one alternative says of members.
struct Side {
    members: BTreeMap<String, Member>,
    /// Whether it admits objects.
    objects: bool,
    /// Whether it knows no members but these.
    closed: bool,
}

/// The members of either side. One is required when every side that admits objects requires it. One that the other side does not name
/// keeps its type, for rules that calculate with it; there it may hold anything, unless that side is closed.
fn join_members(one: Side, mut two: Side, how: Reading) -> BTreeMap<String, Member> {
    let only_in = |member: &mut Member, objects: bool, closed: bool| {
        member.required &= !objects;
        member.shape.conditional |= objects && !closed;
    };
    // The members of many alternatives are added up here, so those that are there stay where they are.
    let mut joined = one.members;
    for (name, member) in &mut joined {
        match two.members.remove(name) {
            Some(other) => {
                member.shape = std::mem::take(&mut member.shape).join(other.shape, how);
                member.required &= other.required;
            }
            None => only_in(member, two.objects, two.closed),
        }
    }
    for (name, mut member) in two.members {
        only_in(&mut member, one.objects, one.closed);
        joined.insert(name, member);
    }
    joined
}

fn meet_options(one: Option<Options>, two: Option<Options>) -> Option<Options> {
    match (one, two) {
        (Some(one), Some(two)) => Some(one.meet(&two)),
        (one, two) => one.or(two),
    }
}

fn meet_constraints(one: Constraints, two: Constraints) -> Constraints {
    Constraints {
        minimum: one.minimum.or(two.minimum),
        maximum: one.maximum.or(two.maximum),
        multiple_of: one.multiple_of.or(two.multiple_of),
        min_length: one.min_length.or(two.min_length),
        max_length: one.max_length.or(two.max_length),
        pattern: one.pattern.or(two.pattern),
        min_items: one.min_items.or(two.min_items),
        max_items: one.max_items.or(two.max_items),
    }
}

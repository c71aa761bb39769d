//! The values of one submission, by slot: filled once, by one walk over the JSON.
//!
//! Made by [`crate::Layout::bind`] and [`crate::RuleSet::bind`], read by the evaluator. Only the members that a plan
//! names are looked at; anything else in the submission costs nothing.

use std::sync::OnceLock;

use serde_json::Value as Json;

use crate::error::{ErrorKind, EvalError};
use crate::layout::{Branch, Layout, Member, Slot};
use crate::types::Type;
use crate::value::{Text, Value, from_json, same_text};

mod cells;

use cells::Cells;

/// What one slot holds.
#[derive(Clone, Debug)]
pub(crate) enum Cell<'a> {
    /// Nothing was bound: reading it is a mistake of the embedding program, told as an error.
    Unbound,
    /// The submission has no such member, or an object around it is absent or null.
    Absent,
    /// The member is there, but its JSON does not fit its type.
    Misfit(EvalError),
    /// The member's value; null only where the type is nullable.
    Value(Value<'a>),
}

impl Cell<'_> {
    /// Whether dropping it frees anything.
    #[inline(always)]
    fn owns(&self) -> bool {
        match self {
            Cell::Unbound | Cell::Absent => false,
            Cell::Misfit(_) => true,
            Cell::Value(value) => value.owns(),
        }
    }
}

/// The slots of one submission. `'a` is the life of the JSON and of the layout (or rule set) they were bound with.
#[derive(Clone, Debug)]
pub struct Slots<'a> {
    layout: &'a Layout,
    cells: Cells<'a>,
}

impl<'a> Slots<'a> {
    /// Slots of `layout` with nothing bound.
    pub(crate) fn new(layout: &'a Layout) -> Slots<'a> {
        Slots { layout, cells: Cells::new(layout.len()) }
    }

    /// Puts a value into a slot: a variable such as `now`, or a field that was computed. The caller answers for the
    /// value's type being the slot's.
    pub fn set(&mut self, slot: Slot, value: Value<'a>) {
        self.cells.put(slot, Cell::Value(value));
    }

    /// Marks a slot's value as absent.
    pub fn clear(&mut self, slot: Slot) {
        self.cells.put(slot, Cell::Absent);
    }

    /// The value in a slot, when there is one.
    pub fn get(&self, slot: Slot) -> Option<&Value<'a>> {
        match self.cell(slot) {
            Cell::Value(value) => Some(value),
            _ => None,
        }
    }

    /// Binds a JSON value to a slot by the slot's type, with the members under it.
    pub(crate) fn bind_member(&mut self, member: &'a Member, json: &'a Json) {
        if member.wanted {
            self.convert(member, json);
        }
        if let Some(branch) = &member.branch {
            self.fill(branch, json);
        }
    }

    /// Puts JSON read as the member's type into its cell. The commonest types are written straight into it: moving them
    /// through the general result costs more than the whole conversion (two stalled stores each).
    #[inline(always)]
    fn convert(&mut self, member: &'a Member, json: &'a Json) {
        match (&member.ty, json) {
            (Type::Double, Json::Number(number)) => {
                if let Some(double) = number.as_f64() {
                    // Canonical JSON has no negative zero.
                    return self.cells.put(member.slot, Cell::Value(Value::Double(double + 0.0)));
                }
            }
            (Type::String, Json::String(text)) => {
                return self.cells.put(member.slot, Cell::Value(Value::String(Text::Borrowed(text))));
            }
            (Type::Int, Json::Number(number)) => {
                if let Some(int) = number.as_i64() {
                    return self.cells.put(member.slot, Cell::Value(Value::Int(int)));
                }
            }
            _ => {}
        }
        self.convert_rare(member, json);
    }

    /// The types that cost more than a move.
    #[inline(never)]
    fn convert_rare(&mut self, member: &'a Member, json: &'a Json) {
        self.bind_slot(member.slot, json, &member.ty);
    }

    /// Binds JSON read as `ty` to a slot.
    pub(crate) fn bind_slot(&mut self, slot: Slot, json: &'a Json, ty: &'a Type) {
        let cell = match from_json(json, ty) {
            Ok(value) => Cell::Value(value),
            Err(error) => Cell::Misfit(error),
        };
        self.cells.put(slot, cell);
    }

    /// Binds the members that `branch` names from `json`.
    pub(crate) fn fill(&mut self, branch: &'a Branch, json: &'a Json) {
        match json {
            Json::Object(members) if merge_pays(branch.members.len(), members.len()) => {
                self.merge(branch, members)
            }
            Json::Object(members) => {
                for member in &branch.members {
                    match members.get(member.name.as_ref()) {
                        Some(json) => self.bind_member(member, json),
                        None => self.absent(member),
                    }
                }
            }
            _ => branch.members.iter().for_each(|member| self.absent(member)),
        }
    }

    /// Walks both sides in name order, which is one comparison a member instead of a lookup a field.
    fn merge(&mut self, branch: &'a Branch, members: &'a serde_json::Map<String, Json>) {
        let mut wanted = branch.members.iter();
        let Some(mut member) = wanted.next() else { return };
        'present: for (name, json) in members {
            // The next name present is nearly always the next one wanted.
            while !same_text(&member.name, name) {
                if member.name.as_ref() > name.as_str() {
                    continue 'present;
                }
                self.absent(member);
                let Some(next) = wanted.next() else { return };
                member = next;
            }
            self.bind_member(member, json);
            let Some(next) = wanted.next() else { return };
            member = next;
        }
        self.absent(member);
        wanted.for_each(|member| self.absent(member));
    }

    /// Marks a member and everything under it as absent.
    pub(crate) fn absent(&mut self, member: &Member) {
        self.cells.put(member.slot, Cell::Absent);
        if let Some(branch) = &member.branch {
            branch.members.iter().for_each(|member| self.absent(member));
        }
    }

    /// The cell of a slot.
    #[inline]
    pub(crate) fn cell(&self, slot: Slot) -> &Cell<'a> {
        self.cells.get(slot)
    }

    /// Why a slot has no value.
    #[cold]
    pub(crate) fn reason(&self, slot: Slot) -> EvalError {
        let name = self.layout.info(slot).path.join(".");
        match self.cell(slot) {
            Cell::Misfit(error) => EvalError::new(error.kind(), format!("`{name}`: {}", error.message())),
            Cell::Unbound => EvalError::new(ErrorKind::Unbound, format!("`{name}` was not bound")),
            Cell::Absent => EvalError::new(ErrorKind::Missing, format!("`{name}` is missing")),
            Cell::Value(_) => EvalError::new(ErrorKind::Missing, format!("`{name}` is null")),
        }
    }
}

/// Whether to walk both sides in order instead of looking every wanted name up. Needs JSON objects that iterate by name,
/// which serde_json does unless its `preserve_order` feature is on somewhere in the build.
fn merge_pays(wanted: usize, present: usize) -> bool {
    static SORTED: OnceLock<bool> = OnceLock::new();
    wanted.saturating_mul(4) > present
        && *SORTED.get_or_init(|| {
            let probe = serde_json::Map::from_iter(["b", "a"].map(|name| (name.to_owned(), Json::Null)));
            probe.keys().eq(["a", "b"])
        })
}

/// A set of slots: which ones a program reads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SlotSet(Vec<u64>);

impl SlotSet {
    /// Adds a slot.
    pub fn insert(&mut self, slot: Slot) {
        let (word, bit) = (slot.index() / 64, slot.index() % 64);
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        self.0[word] |= 1 << bit;
    }

    /// Whether a slot is in the set.
    pub fn contains(&self, slot: Slot) -> bool {
        self.0.get(slot.index() / 64).is_some_and(|word| word >> (slot.index() % 64) & 1 == 1)
    }

    /// Adds every slot of `other`.
    pub fn extend(&mut self, other: &SlotSet) {
        if self.0.len() < other.0.len() {
            self.0.resize(other.0.len(), 0);
        }
        self.0.iter_mut().zip(&other.0).for_each(|(word, more)| *word |= more);
    }
}

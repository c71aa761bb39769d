//! The slot layout of one form: every fixed member path gets a number, given once, at publish.
//!
//! Built from an [`ObjectType`] and used by the checker (names to slots) and by binding (JSON to slots). After this no
//! name is looked up again. Lists, maps and `dyn` members are one slot as a whole; an object has a slot for itself and
//! one for each of its members.

use std::sync::Arc;

use serde_json::{Number, Value as Json};

use crate::function::Function;
use crate::slots::{SlotSet, Slots};
use crate::types::{Field, ObjectType, Type};

/// The number of a slot in its layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slot(pub(crate) u32);

impl Slot {
    /// The number, from 0 without gaps.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// Names, types and slot numbers of everything that an expression may read.
///
/// The members of the root object are top-level names (`amount`, `applicant.age`). [`Layout::with_variable`] adds names
/// that do not come from the form, such as `now`; a form's own field of the same name wins, so that a new variable never
/// changes what an existing rule means.
#[derive(Clone, Debug)]
pub struct Layout {
    root: Branch,
    open: bool,
    variables: Branch,
    functions: Vec<Arc<Function>>,
    slots: Vec<SlotInfo>,
}

/// What a slot holds.
#[derive(Clone, Debug)]
pub(crate) struct SlotInfo {
    pub path: Box<[Arc<str>]>,
    pub ty: Type,
    /// The schema's `enum`, when it has one.
    pub values: Option<Arc<[Json]>>,
    /// The least and the greatest number that the schema admits.
    pub minimum: Option<Number>,
    pub maximum: Option<Number>,
    /// The fewest items of a list that the schema admits.
    pub min_items: u64,
    /// Whether the member may be absent or null in an object that is there.
    pub optional: bool,
}

/// The members of one object, ordered by name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Branch {
    pub members: Vec<Member>,
}

/// One member: its own slot and, when it is an object, its members.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub name: Arc<str>,
    pub slot: Slot,
    /// The slot's type once more, so that binding touches nothing but the member.
    pub ty: Type,
    /// Whether binding fills the slot itself; a pruned branch may only lead to members below.
    pub wanted: bool,
    pub branch: Option<Branch>,
}

impl Branch {
    /// The member called `name`.
    pub fn member(&self, name: &str) -> Option<&Member> {
        self.members
            .binary_search_by(|member| member.name.as_ref().cmp(name))
            .ok()
            .map(|at| &self.members[at])
    }

    fn member_mut(&mut self, name: &str) -> Option<&mut Member> {
        self.members
            .binary_search_by(|member| member.name.as_ref().cmp(name))
            .ok()
            .map(|at| &mut self.members[at])
    }

    /// This branch without the members that `uses` does not contain.
    pub fn pruned(&self, uses: &SlotSet) -> Branch {
        let members = self.members.iter().filter_map(|member| {
            let branch = member.branch.as_ref().map(|branch| branch.pruned(uses));
            let inside = branch.as_ref().is_some_and(|branch| !branch.members.is_empty());
            let wanted = uses.contains(member.slot);
            (inside || wanted).then(|| Member {
                name: member.name.clone(),
                slot: member.slot,
                ty: member.ty.clone(),
                wanted,
                branch: branch.filter(|_| inside),
            })
        });
        Branch { members: members.collect() }
    }
}

impl Layout {
    /// The layout of a form whose data is a `root` object.
    pub fn new(root: Arc<ObjectType>) -> Layout {
        let mut layout = Layout {
            root: Branch::default(),
            open: root.is_open(),
            variables: Branch::default(),
            functions: Vec::new(),
            slots: Vec::new(),
        };
        layout.root = layout.lay_out(&root, &[]);
        layout
    }

    /// The same layout with a further top-level name. An object's members get slots of their own. A second variable of
    /// the same name replaces the first.
    #[must_use]
    pub fn with_variable(mut self, name: &str, ty: Type) -> Layout {
        self.add_variable(&Field::required(name, ty));
        self
    }

    /// The same layout with a further function. A second one of the same name replaces the first.
    #[must_use]
    pub fn with_function(mut self, function: Function) -> Layout {
        self.functions.retain(|known| known.name() != function.name());
        self.functions.push(Arc::new(function));
        self
    }

    /// The function of the embedding program called `name`.
    pub(crate) fn function(&self, name: &str) -> Option<&Arc<Function>> {
        self.functions.iter().find(|function| function.name() == name)
    }

    /// The names of the embedding program's functions.
    pub(crate) fn function_names(&self) -> impl Iterator<Item = &str> {
        self.functions.iter().map(|function| function.name())
    }

    /// As [`Layout::with_variable`], in place; the variable's slot.
    pub(crate) fn add_variable(&mut self, field: &Field) -> Slot {
        let member = self.lay_out_member(field, &[]);
        let slot = member.slot;
        put(&mut self.variables, member);
        slot
    }

    /// What messages call a slot whose name means nothing to the author of a rule.
    pub(crate) fn show_as(&mut self, slot: Slot, text: &str) {
        self.slots[slot.index()].path = Box::new([text.into()]);
    }

    /// Every slot with its path and type, in slot order. Objects come before their members.
    pub fn slots(&self) -> impl Iterator<Item = (Slot, &[Arc<str>], &Type)> {
        self.slots.iter().zip(0..).map(|(info, number)| (Slot(number), &*info.path, &info.ty))
    }

    /// The slot of the form's member at `path`.
    pub fn slot(&self, path: &[&str]) -> Option<Slot> {
        find(&self.root, path)
    }

    /// The slot of the variable (or of a member of the variable) at `path`.
    pub fn variable(&self, path: &[&str]) -> Option<Slot> {
        find(&self.variables, path)
    }

    /// Fills all slots of the form's fields by one walk over `data`. Variables stay unbound: see [`Slots::set`].
    pub fn bind<'a>(&'a self, data: &'a Json) -> Slots<'a> {
        let mut slots = Slots::new(self);
        slots.fill(&self.root, data);
        slots
    }

    /// Adds a field that the schema does not name, because a compute rule writes it. `false` when something is already
    /// there or an object on the way is closed to it.
    pub(crate) fn add_field(&mut self, path: &[&str], ty: Type) -> bool {
        let Some((last, parents)) = path.split_last() else { return false };
        let mut root = std::mem::take(&mut self.root);
        let place =
            parents.iter().try_fold(&mut root, |branch, parent| branch.member_mut(parent)?.branch.as_mut());
        let free = match place {
            Some(branch) if branch.member(last).is_none() => {
                let names: Vec<Arc<str>> = parents.iter().map(|&parent| parent.into()).collect();
                put(branch, self.lay_out_member(&Field::optional(last, ty), &names));
                true
            }
            _ => false,
        };
        self.root = root;
        free
    }

    /// Forgets of the form's member at `path` what the schema says beside its type: that is asked of what people send, and a rule that computes the
    /// member may make something else, or nothing.
    pub(crate) fn forget_limits(&mut self, path: &[&str]) {
        if let Some(slot) = self.slot(path) {
            let info = &mut self.slots[slot.index()];
            (info.values, info.minimum, info.maximum, info.min_items, info.optional) =
                (None, None, None, 0, true);
        }
    }

    /// Remembers that the member of a variable at `path` is there wherever the objects around it are.
    pub(crate) fn promise(&mut self, path: &[&str]) {
        if let Some(slot) = self.variable(path) {
            self.slots[slot.index()].optional = false;
        }
    }

    /// The form's members.
    pub(crate) fn root(&self) -> &Branch {
        &self.root
    }

    /// The variables.
    pub(crate) fn variables(&self) -> &Branch {
        &self.variables
    }

    /// Whether the form admits top-level members that the schema does not name.
    pub(crate) fn is_open(&self) -> bool {
        self.open
    }

    /// What `slot` holds.
    pub(crate) fn info(&self, slot: Slot) -> &SlotInfo {
        &self.slots[slot.index()]
    }

    /// Number of slots.
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Gives slots to the members of `object`, which lies at `path`.
    fn lay_out(&mut self, object: &ObjectType, path: &[Arc<str>]) -> Branch {
        let members = object.fields().iter().map(|field| self.lay_out_member(field, path)).collect();
        Branch { members }
    }

    fn lay_out_member(&mut self, field: &Field, parent: &[Arc<str>]) -> Member {
        let mut path = parent.to_vec();
        path.push(field.name.clone());
        let number = u32::try_from(self.slots.len())
            .expect("a schema under the body limit has fewer than 2^32 members");
        self.slots.push(SlotInfo {
            path: path.clone().into(),
            ty: field.ty.clone(),
            values: field.values.clone(),
            minimum: field.minimum.clone(),
            maximum: field.maximum.clone(),
            min_items: field.min_items,
            optional: !field.required || matches!(field.ty, Type::Nullable(_)),
        });
        let branch = match field.ty.non_null() {
            Type::Object(object) => Some(self.lay_out(object, &path)),
            _ => None,
        };
        Member { name: field.name.clone(), slot: Slot(number), ty: field.ty.clone(), wanted: true, branch }
    }
}

/// Puts `member` into `branch` at its place in the order, replacing one of the same name.
fn put(branch: &mut Branch, member: Member) {
    match branch.members.binary_search_by(|other| other.name.cmp(&member.name)) {
        Ok(at) => branch.members[at] = member,
        Err(at) => branch.members.insert(at, member),
    }
}

/// The slot at the end of `path`.
fn find(branch: &Branch, path: &[&str]) -> Option<Slot> {
    let (first, rest) = path.split_first()?;
    let member = branch.member(first)?;
    if rest.is_empty() { Some(member.slot) } else { find(member.branch.as_ref()?, rest) }
}

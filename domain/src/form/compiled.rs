//! A published form version, compiled once: everything that a submission needs, with no look-up by name left.
//! Made by `Form` (for its problems) and by `api`, which keeps one per version; shared by all requests.

use std::fmt;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use formledger_rules::{Layout, Type};
use jsonschema::Validator;
use serde_json::Value;

use super::ast::{Field, FieldKind};
use super::attachments::AttachmentRules;
use super::definition::FormDefinition;
use super::problem::DefinitionProblem;
use super::references::{self, References};
use super::rules::{self, FormRules, Verdict};
use super::shape::{self, Reading};
use super::validator::{self, Checked};
use super::violation::{self, Violation};
use super::workflow::{Facts, GuardFailed, Transition, Workflow};
use crate::ids::{FormId, FormVersion};
use crate::json::{CanonicalJson, pointer};

/// A form version, ready to check submissions.
pub struct CompiledForm {
    id: FormId,
    version: FormVersion,
    title: String,
    validator: Validator,
    fields: Field,
    rules: FormRules,
    workflow: Option<Workflow>,
    attachments: Option<AttachmentRules>,
    index: Vec<String>,
    remarks: Vec<DefinitionProblem>,
}

/// What the texts of a field say, by which they are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TextKind {
    /// What is written, and no more.
    Plain,
    /// A decimal number: `format: decimal`, or what a rule computes as one; a whole number that JSON readers would round is recorded as such a text.
    Decimal,
    /// A moment: `format: date-time`, or what a rule computes as one.
    Timestamp,
}

/// Why data cannot be accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The data break the schema or a constraint; at least one.
    Violations(Vec<Violation>),
}

impl CompiledForm {
    /// Compiles a definition, one to be published or one that was published by whatever binary: see [`CompiledForm::remarks`].
    ///
    /// # Errors
    /// Everything that stands in the way of publishing it, then warnings, with pointers into the definition.
    pub fn compile(
        definition: &FormDefinition,
        id: &FormId,
        version: FormVersion,
    ) -> Result<Self, Vec<DefinitionProblem>> {
        let checked = validator::check(&definition.schema)?;
        let Parts { fields, rules, workflow, attachments, remarks } = Parts::published(definition, &checked)?;
        Ok(Self {
            id: id.clone(),
            version,
            title: definition.title.clone(),
            validator: checked.validator,
            fields,
            rules,
            workflow,
            attachments,
            index: definition.index.clone(),
            remarks,
        })
    }

    /// The form.
    pub fn id(&self) -> &FormId {
        &self.id
    }

    /// The version.
    pub fn version(&self) -> FormVersion {
        self.version
    }

    /// What people call the form.
    pub fn title(&self) -> &str {
        &self.title
    }

    /// JSON Pointers of the fields that queries may filter and sort by.
    pub fn index(&self) -> &[String] {
        &self.index
    }

    /// What the texts of the field at `pointer` say; data that nobody checked, as those of drafts, may hold others.
    pub fn text_kind(&self, pointer: &str) -> TextKind {
        let names: Vec<_> = pointer::tokens(pointer).collect();
        let slot = self.layout().slot(&names.iter().map(AsRef::as_ref).collect::<Vec<_>>());
        let ty =
            self.layout().slots().find(|(found, ..)| Some(*found) == slot).map(|(_, _, ty)| ty.non_null());
        match ty {
            Some(Type::Decimal | Type::Int | Type::Uint | Type::Double) => TextKind::Decimal,
            Some(Type::Timestamp) => TextKind::Timestamp,
            _ => TextKind::Plain,
        }
    }

    /// The form's fields, as a tree.
    pub fn fields(&self) -> &Field {
        &self.fields
    }

    /// The pointers of the fields that its rules compute, whether the schema describes them or not.
    pub fn computed(&self) -> &[Arc<str>] {
        self.rules.computed()
    }

    /// The slots of the fields, computed ones among them.
    pub fn layout(&self) -> &Layout {
        self.rules.layout()
    }

    /// The form's workflow; `None` when a submission is final as soon as it is submitted.
    pub fn workflow(&self) -> Option<&Workflow> {
        self.workflow.as_ref()
    }

    /// Which files the form's submissions take; `None` when none.
    pub fn attachments(&self) -> Option<&AttachmentRules> {
        self.attachments.as_ref()
    }

    /// Where the form's workflow takes a submission in `state` by itself; `None` when it stays.
    pub(crate) fn moves_to(&self, state: &str, facts: &Facts<'_>) -> Option<&str> {
        self.workflow.as_ref()?.moves_to(state, self.rules.set(), facts)
    }

    /// Whether the guard of a transition of the form's workflow lets the facts through.
    pub(crate) fn lets_through(&self, transition: &Transition, facts: &Facts<'_>) -> Result<(), GuardFailed> {
        self.workflow
            .as_ref()
            .map_or(Ok(()), |workflow| workflow.lets_through(transition, self.rules.set(), facts))
    }

    /// Whether the guard of the transition of this name holds; `None` where it has none, or there is no such transition.
    pub fn guard_holds(&self, transition: &str, facts: &Facts<'_>) -> Option<bool> {
        let transition = self.workflow.as_ref()?.transition(transition)?;
        transition.has_guard().then(|| self.lets_through(transition, facts).is_ok())
    }

    /// The people who may take a transition of the form's workflow whatever their roles.
    /// Those who are `excluded` take no seat from others.
    pub(crate) fn candidates(
        &self,
        transition: &Transition,
        excluded: impl Fn(&str) -> bool,
        facts: &Facts<'_>,
    ) -> Vec<String> {
        self.workflow.as_ref().map_or_else(Vec::new, |workflow| {
            workflow.candidates(transition, excluded, self.rules.set(), facts)
        })
    }

    /// What the checker says of it: warnings, and what it refuses to publish today although a version that was published before it
    /// knew better still works.
    pub fn remarks(&self) -> &[DefinitionProblem] {
        &self.remarks
    }

    /// Checks data against the form's schema alone.
    ///
    /// # Errors
    /// [`Refusal::Violations`].
    pub fn check(&self, data: &Value) -> Result<(), Refusal> {
        if self.validator.is_valid(data) {
            return Ok(());
        }
        Err(Refusal::Violations(violation::violations(self.validator.iter_errors(data))))
    }

    /// Explains recorded outcomes: `{ "<rule id>": … }` with the `conditions` of a decision (`text`, `held`, `values`), the `inputs` and
    /// matching `rows` of a table, the `text` and `values` of a compute. `data` are those that the rules saw, computed values included.
    pub fn explain(&self, outcomes: &CanonicalJson, why: Option<&CanonicalJson>, data: &Value) -> Value {
        let why = why.map_or(Value::Null, CanonicalJson::to_value);
        self.rules.set().explain(&outcomes.to_value(), &why, data)
    }

    /// Checks data against schema and constraints, and asks the other rules; `None` when the form has no others. Rules read
    /// `now` as the time of the submission.
    ///
    /// # Errors
    /// [`Refusal::Violations`]; constraints are asked only when the data fit the schema. A computed field that is sent as it is shown does,
    /// also where a number is recorded as text.
    pub fn judge(&self, data: &Value, now: DateTime<Utc>) -> Result<Option<Verdict>, Refusal> {
        let shown = self.rules.set().restore_computed(data);
        self.check(&shown).or_else(|refusal| self.check(&self.without_nulls(&shown).ok_or(refusal)?))?;
        self.rules.run(data, now).map_err(Refusal::Violations)
    }
}

impl CompiledForm {
    /// The data without the computed fields that are null, as they are shown where something was filled in and the rule made nothing; `None` where
    /// there is none.
    fn without_nulls(&self, data: &Value) -> Option<Value> {
        let mut without = None;
        for target in self.computed().iter().filter(|target| data.pointer(target) == Some(&Value::Null)) {
            pointer::take(without.get_or_insert_with(|| data.clone()), target);
        }
        without
    }
}

/// The fields of a published version as its own rules read them; as it is documented where the version does not compile.
pub(super) fn fields_as_published(
    definition: &FormDefinition,
    checked: &Checked,
) -> Result<Field, Vec<DefinitionProblem>> {
    match Parts::published(definition, checked) {
        Ok(parts) => Ok(parts.fields),
        Err(_) => fields(checked, Reading::Today),
    }
}

fn fields(checked: &Checked, reading: Reading) -> Result<Field, Vec<DefinitionProblem>> {
    let problem = |why: String| vec![DefinitionProblem::error("/schema", why)];
    let Checked { schema, draft, .. } = checked;
    let registry = references::registry(schema, *draft).map_err(|error| problem(error.to_string()))?;
    let references = References::of(schema, *draft, &registry);
    shape::fields(schema, &references, reading).map_err(|error| problem(error.to_string()))
}

/// The parts of a form that depend on how its fields are read.
struct Parts {
    fields: Field,
    rules: FormRules,
    workflow: Option<Workflow>,
    attachments: Option<AttachmentRules>,
    remarks: Vec<DefinitionProblem>,
}

impl Parts {
    fn published(definition: &FormDefinition, checked: &Checked) -> Result<Self, Vec<DefinitionProblem>> {
        let today = fields(checked, Reading::Today)?;
        Self::compile(definition, today, checked.warnings.clone()).or_else(|problems| {
            let today = fields(checked, Reading::Today)?;
            // A version that was published under an earlier reading goes on with it; `problems` keep others from being published like it.
            for reading in [Reading::Names, Reading::Earlier] {
                let earlier = fields(checked, reading)?;
                if earlier != today
                    && let Ok(parts) = Self::compile(definition, earlier, Vec::new())
                {
                    return Ok(Self { remarks: problems, ..parts });
                }
            }
            Err(problems)
        })
    }

    fn compile(
        definition: &FormDefinition,
        mut fields: Field,
        warnings: Vec<DefinitionProblem>,
    ) -> Result<Self, Vec<DefinitionProblem>> {
        let layout = rules::layout(&fields);
        fields.bind(&|path| layout.slot(path));

        // From here on the parts do not need each other to be right, so all their problems are told at once.
        let mut problems = warnings;
        let (rules, mut remarks) = match FormRules::compile(&definition.rules, &layout) {
            Ok((rules, remarks)) => (Some(rules), remarks),
            Err(errors) => {
                problems.extend(errors);
                (None, Vec::new())
            }
        };
        let with_computed = rules.as_ref().map_or(&layout, FormRules::layout);
        problems.extend(index_problems(&definition.index, &fields, with_computed));
        let workflow = definition.workflow.as_ref().and_then(|workflow| {
            let (workflow, found) = Workflow::compile(workflow, &fields, rules.as_ref().map(FormRules::set));
            if workflow.is_some() {
                remarks.extend(found)
            } else {
                problems.extend(found)
            }
            workflow
        });
        let attachments = match definition.attachments.as_ref().map(AttachmentRules::compile) {
            Some(Err(found)) => {
                problems.extend(found);
                None
            }
            Some(Ok(rules)) => Some(rules),
            None => {
                problems.extend(workflow.iter().flat_map(Workflow::attaching_in_vain));
                None
            }
        };
        let works = !problems.iter().any(DefinitionProblem::is_error);
        // Versions were published with such pointers before they were looked at.
        problems.extend(no_pointers(&definition.index));
        problems.extend(remarks);
        problems.sort_by_key(|problem| std::cmp::Reverse(problem.severity));
        match rules {
            Some(rules) if works => Ok(Self { fields, rules, workflow, attachments, remarks: problems }),
            _ => Err(problems),
        }
    }
}

impl FormDefinition {
    /// What the checker says about a definition: everything that stands in the way of publishing it, and warnings.
    pub fn problems(definition: &Value, form: &FormId) -> Vec<DefinitionProblem> {
        FormDefinition::parse(definition)
            .and_then(|parsed| CompiledForm::compile(&parsed, form, FormVersion::FIRST))
            .map_or_else(refusing, |compiled| compiled.remarks)
    }
}

/// The problems of a definition that does not compile, at least one of them an error: what is published is what has none, and no
/// submission could be made to a version that does not compile.
fn refusing(mut problems: Vec<DefinitionProblem>) -> Vec<DefinitionProblem> {
    if !problems.iter().any(DefinitionProblem::is_error) {
        let message =
            "the definition does not compile, and the checker does not say where; please report this";
        problems.insert(0, DefinitionProblem::error("", message));
    }
    problems
}

fn index_problems(index: &[String], fields: &Field, layout: &Layout) -> Vec<DefinitionProblem> {
    let problem = |(place, pointer): (usize, &String)| {
        let message = match fields.find(pointer) {
            None if is_computed_scalar(pointer, layout) => return None,
            Some(field) if field.slot.is_none() => {
                "an indexed field has one value per submission; this one is inside a list"
            }
            Some(field) if !field.kind.is_scalar() => {
                "an indexed field holds a text, a number or a truth value; this one may hold more"
            }
            Some(_) => return None,
            None if is_behind_anything(pointer, fields) => {
                "the way here leads through a reference back to itself, or through what may be anything, and no field behind that is \
                 indexed; name one outside, or have a rule compute one"
            }
            None => "the schema has no field here; name one that it describes",
        };
        let message = format!("`{}`: {message}", violation::clip(pointer));
        Some(DefinitionProblem::error(format!("/index/{place}"), message))
    };
    index.iter().enumerate().filter_map(problem).collect()
}

/// Whether the tree of fields ends on the way to `pointer` at something of which it does not say what it holds.
fn is_behind_anything(pointer: &str, fields: &Field) -> bool {
    let ends = pointer.match_indices('/').map(|(at, _)| &pointer[..at]).filter(|place| !place.is_empty());
    let deepest = ends.rev().find_map(|place| fields.find(place));
    deepest
        .is_some_and(|field| field.conditional && field.kind == FieldKind::Any && field.children.is_empty())
}

/// What is no JSON Pointer (RFC 6901): a `~` that escapes nothing.
fn no_pointers(index: &[String]) -> impl Iterator<Item = DefinitionProblem> {
    let escapes_nothing =
        |pointer: &str| pointer.split('~').skip(1).any(|rest| !rest.starts_with(['0', '1']));
    let wrong = index.iter().enumerate().filter(move |(_, pointer)| escapes_nothing(pointer));
    wrong.map(|(place, pointer)| {
        let message = format!("`{}`: a `~` in a name is written `~0`", violation::clip(pointer));
        DefinitionProblem::error(format!("/index/{place}"), message)
    })
}

/// Whether a rule computes a single value at `pointer`, where the schema describes nothing.
fn is_computed_scalar(pointer: &str, layout: &Layout) -> bool {
    let names: Vec<_> = pointer::tokens(pointer).collect();
    layout.slots().any(|(slot, path, ty)| {
        let same = path.iter().map(AsRef::as_ref).eq(names.iter().map(AsRef::as_ref));
        let several = matches!(ty.non_null(), Type::List(_) | Type::Map(..) | Type::Object(_) | Type::Dyn);
        same && !several && layout.slot(&path.iter().map(AsRef::as_ref).collect::<Vec<_>>()) == Some(slot)
    })
}

impl fmt::Debug for CompiledForm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CompiledForm")
            .field("id", &self.id)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_compile_is_never_told_without_an_error() {
        let warning = DefinitionProblem::warning("/rules/0/when", "this never holds");
        for problems in [vec![], vec![warning.clone()]] {
            let told = refusing(problems.clone());
            assert!(told[0].is_error());
            assert_eq!(told[1..], problems);
        }
        let told = vec![DefinitionProblem::error("/schema", "wrong"), warning];
        assert_eq!(refusing(told.clone()), told);
    }
}

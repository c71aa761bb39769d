//! Who may use a route, and how a credential that is limited to forms reaches it: declared beside each route in `router`, enforced by
//! [`Call::caller`](crate::call::Call::caller) before anything else is read, and told in `docs/roles.md`, which is made from it.

use std::fmt::Write;

use percent_encoding::percent_decode_str;

use crate::auth::{Caller, role};
use crate::error::ApiError;
use crate::head::Head;
use crate::params::Params;

/// The roles that submit.
pub const SUBMITTERS: &[&str] = &[role::ADMIN, role::SUBMITTER];
/// The roles that change forms.
pub const DESIGNERS: &[&str] = &[role::ADMIN, role::DESIGNER];
/// The roles that keep the tenant's credentials.
pub const ADMINS: &[&str] = &[role::ADMIN];
/// The roles that see a tenant's replays; which ones they begin and direct depends on the kind.
pub const REPLAYERS: &[&str] = &[role::ADMIN, role::AUDITOR, role::DESIGNER];
/// The roles that see what is audited, and what was.
pub const AUDITORS: &[&str] = &[role::ADMIN, role::AUDITOR];
/// The roles that make tenants.
pub const OPERATORS: &[&str] = &[role::OPERATOR];

/// A route as the outside sees it: its method and template, and who may use it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// The method.
    pub method: &'static str,
    /// The path, with parameters in braces.
    pub template: &'static str,
    /// Who may use it.
    pub who: Who,
    /// What says which form it is about.
    pub reach: Reach,
}

/// Who may use a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// Anybody without a credential: it says nothing of any tenant.
    Anybody,
    /// Every credential of the tenant.
    Member,
    /// The roles that read everything; everyone else for what is their own or waits for them.
    Own,
    /// Whom the form's workflow lets, by role or by name; a submission that somebody may not read is missing to them.
    Workflow,
    /// These roles.
    Roles(&'static [&'static str]),
}

/// What says which form a request is about, for credentials that are limited to some forms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Nothing: it is about the tenant as a whole, which such a credential does not reach.
    Tenant,
    /// `{form}` in the path.
    Form,
    /// The submission, once it is read; `submissions` compares its form.
    Submission,
    /// The parameter `form`, which such a credential must give.
    FormFilter,
    /// Each line of the body, once it is read; what runs the line compares its form.
    Lines,
}

impl Rule {
    /// Lets a caller in, or not; whether a workflow or a submission of one's own lets them is said later, by what knows it. The caller that
    /// comes out holds the roles that it holds for the form that the request names, where it names one.
    ///
    /// # Errors
    /// 403.
    pub fn admit(&self, caller: Caller, head: &Head) -> Result<Caller, ApiError> {
        let matters = caller.forms.is_some() || caller.has_roles_for_forms();
        let form = match self.reach {
            _ if !matters => None,
            Reach::Form => self.parameter("form", head.uri.path()),
            Reach::FormFilter => Params::read(head)?.one("form")?,
            Reach::Submission | Reach::Lines | Reach::Tenant => None,
        };
        let named = form.as_deref().and_then(|form| form.parse().ok());
        let caller = match named {
            Some(form) => caller.on(&form),
            None => caller,
        };
        match (self.who, self.reach) {
            // What the submission or the line is about says which roles count, and asks again.
            (Who::Roles(roles), Reach::Submission | Reach::Lines) => caller.require_somewhere(roles)?,
            (Who::Roles(roles), _) => caller.require(roles)?,
            _ => {}
        }
        match (self.reach, form) {
            (Reach::Submission | Reach::Lines, _) => Ok(caller),
            _ if caller.forms.is_none() => Ok(caller),
            (_, Some(form)) if caller.reaches(&form) => Ok(caller),
            _ => Err(caller.out_of_reach()),
        }
    }

    /// What stands in a path where the template has `{name}`, percent-decoded.
    pub fn parameter(&self, name: &str, path: &str) -> Option<String> {
        let is_it = |part: &str| part.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) == Some(name);
        let (_, given) = self.template.split('/').zip(path.split('/')).find(|(part, _)| is_it(part))?;
        percent_decode_str(given).decode_utf8().ok().map(|given| given.into_owned())
    }
}

/// The roles as the matrix lists them; the last stands for every role that the product does not know.
pub const LISTED_ROLES: [&str; 7] = [
    role::ADMIN,
    role::DESIGNER,
    role::SUBMITTER,
    role::REVIEWER,
    role::AUDITOR,
    role::OPERATOR,
    "any other",
];

impl Who {
    /// What somebody with this role alone may, as the matrix says it.
    pub fn cell(self, role: &str) -> &'static str {
        match self {
            Self::Anybody | Self::Member => "yes",
            Self::Own if role::READERS.contains(&role) => "yes",
            Self::Own => "own",
            Self::Workflow => "workflow",
            Self::Roles(roles) if roles.contains(&role) => "yes",
            Self::Roles(_) => "–",
        }
    }
}

/// The matrix of routes and roles as Markdown, in the order in which routes are tried.
pub fn matrix(rules: impl IntoIterator<Item = Rule>) -> String {
    let mut text = format!("\n| route | {} | key for some forms |\n|", LISTED_ROLES.join(" | "));
    text += &" --- |".repeat(LISTED_ROLES.len() + 2);
    text.push('\n');
    for rule in rules {
        write!(text, "| `{} {}` |", rule.method, rule.template).expect("a string takes all text");
        if rule.who == Who::Anybody {
            text += &" open |".repeat(LISTED_ROLES.len() + 1);
        } else {
            for role in LISTED_ROLES {
                write!(text, " {} |", rule.who.cell(role)).expect("a string takes all text");
            }
            text += match rule.reach {
                Reach::Tenant => " – |",
                Reach::Form | Reach::Submission | Reach::Lines => " its forms |",
                Reach::FormFilter => " with `form=` |",
            };
        }
        text.push('\n');
    }
    text + "\n"
}

//! Every route with who may use it, in the order in which it is tried: the table of contents of the HTTP API.
//! Called by `app`. A handler gets a [`Call`] and the path's parameters; refusals never travel as warp rejections.

use std::sync::Arc;

use http::Method;
use percent_encoding::percent_decode_str;
use warp::Filter;
use warp::filters::BoxedFilter;
use warp::reply::Response;

use crate::access::Reach::{Form, FormFilter, Lines, Submission, Tenant};
use crate::access::Who::{Anybody, Member, Own, Roles, Workflow};
use crate::access::{ADMINS, AUDITORS, DESIGNERS, OPERATORS, REPLAYERS, Rule, SUBMITTERS};
use crate::app::Api;
use crate::auth::role;
use crate::body::Body;
use crate::call::{Call, answer};
use crate::error::ApiError;
use crate::head::Head;
use crate::metrics::RouteMetrics;
use crate::{
    api_keys, attachments, audit, audit_settings, bulk, diff, events, exports, feed, form_queries, forms,
    ledger, operations, replays, stats, submission_queries, submissions, tasks, tenants, workflow,
};

/// One route: the rule under which it is documented, measured and found for `Allow`, and what makes its filter.
struct Route {
    rule: Rule,
    filter: fn(&Arc<Api>) -> BoxedFilter<(Response,)>,
}

/// `route!(GET / "v1" / "forms" / form => forms::one, form; Member, Form)`: literals must match, names are parameters, percent-decoded
/// text; then who may use it, and what says which form it is about.
macro_rules! route {
    ($method:ident $(/ $segment:tt)* => $handler:path $(, $parameter:ident)*; $who:expr, $reach:expr) => {{
        const TEMPLATE: &str = concat!("/", route!(@template $($segment)*));
        const RULE: Rule = Rule { method: stringify!($method), template: TEMPLATE, who: $who, reach: $reach };
        Route {
            rule: RULE,
            filter: |app| {
                let app = Arc::clone(app);
                let counted = Arc::new(RouteMetrics::new(RULE.method, RULE.template));
                warp::any()
                    $(.and(route!(@segment $segment)))*
                    .and(warp::path::end())
                    .and(route!(@method $method))
                    .and(request())
                    .then(move |$($parameter: String,)* head: Arc<Head>, body: Body| {
                        let (app, counted) = (Arc::clone(&app), Arc::clone(&counted));
                        let answered = async move {
                            let call = Call::new(Arc::clone(&app), Arc::clone(&head), &RULE, body);
                            let of_request = Arc::clone(&head);
                            // On the heap, once: each future around it holds it twice, where it is made and where it is waited for.
                            let handled = Box::pin(async move {
                                no_trailing_slash(&of_request)?;
                                $(let $parameter = decoded(&$parameter)?;)*
                                $handler(call, $($parameter),*).await
                            });
                            let answered = audited(&app, &head, &RULE, handled);
                            // A query that nobody waits for is left; a command, and what is recorded of its refusal, is not.
                            let handled = match RULE.method {
                                "GET" => answered.await,
                                _ => app.begun.to_its_end(answered).await,
                            };
                            answer(&head, &counted, handled)
                        };
                        debug_assert!(size_of_val(&answered) <= FUTURE_BYTES_MAX, "{} bytes", size_of_val(&answered));
                        answered
                    })
                    .boxed()
            },
        }
    }};
    (@template) => { "" };
    (@template $first:tt $($rest:tt)*) => { concat!(route!(@name $first) $(, "/", route!(@name $rest))*) };
    (@name $literal:literal) => { $literal };
    (@name $parameter:ident) => { concat!("{", stringify!($parameter), "}") };
    (@segment $literal:literal) => { warp::path($literal) };
    (@segment $parameter:ident) => { warp::path::param::<String>() };
    (@method GET) => { warp::get() };
    (@method POST) => { warp::post() };
    (@method PUT) => { warp::put() };
    (@method PATCH) => { warp::patch() };
    (@method DELETE) => { warp::delete() };
}

/// What a route's future may hold beside the handler's own: warp copies it twice for each request.
const FUTURE_BYTES_MAX: usize = 2 * 1024;

/// The routes of the application.
pub fn routes(app: &Arc<Api>) -> BoxedFilter<(Response,)> {
    chain(app, TABLE)
}

/// Who may use which route, in the order in which routes are tried.
pub fn rules() -> impl Iterator<Item = Rule> {
    TABLE.iter().map(|route| route.rule)
}

const TABLE: &[Route] = &[
    // The hot path first.
    route!(POST / "v1" / "forms" / form / "submissions" => submissions::submit, form; Roles(SUBMITTERS), Form),
    route!(GET / "v1" / "submissions" / id => submission_queries::one, id; Own, Submission),
    route!(GET / "v1" / "submissions" => submission_queries::list; Own, FormFilter),
    route!(GET / "v1" / "submissions" / id / "timeline" => submission_queries::timeline, id; Own, Submission),
    route!(GET / "v1" / "submissions" / id / "diff" => diff::submission, id; Own, Submission),
    route!(PATCH / "v1" / "submissions" / id => submissions::patch, id; Workflow, Submission),
    route!(POST / "v1" / "submissions" / id / "submit" => submissions::submit_draft, id; Roles(SUBMITTERS), Submission),
    route!(POST / "v1" / "submissions" / id / "transitions" / name => workflow::transition, id, name; Workflow, Submission),
    route!(POST / "v1" / "submissions" / id / "comments" => workflow::comment, id; Workflow, Submission),
    route!(POST / "v1" / "submissions" / id / "attachments" => attachments::attach, id; Workflow, Submission),
    route!(GET / "v1" / "submissions" / id / "attachments" => attachments::list, id; Own, Submission),
    route!(GET / "v1" / "submissions" / id / "attachments" / sha256 => attachments::download, id, sha256; Own, Submission),
    route!(DELETE / "v1" / "submissions" / id / "attachments" / sha256 => attachments::detach, id, sha256; Workflow, Submission),
    route!(POST / "v1" / "submissions" / id / "claim" => workflow::claim, id; Workflow, Submission),
    route!(POST / "v1" / "submissions" / id / "assign" => workflow::assign, id; Workflow, Submission),
    route!(POST / "v1" / "submissions" / id / "release" => workflow::release, id; Workflow, Submission),
    route!(POST / "v1" / "submissions" / id / "delegate" => workflow::delegate, id; Workflow, Submission),
    route!(POST / "v1" / "submissions" / id / "withdraw" => workflow::withdraw, id; Workflow, Submission),
    route!(POST / "v1" / "submissions:import" => bulk::import; Roles(SUBMITTERS), Lines),
    route!(POST / "v1" / "submissions:transition" => bulk::transition; Workflow, Lines),
    route!(GET / "v1" / "tasks" => tasks::list; Member, FormFilter),
    route!(GET / "v1" / "feed" => feed::subscribe; Roles(role::READERS), FormFilter),
    route!(GET / "v1" / "events" => events::list; Roles(role::READERS), FormFilter),
    route!(POST / "v1" / "replays" => replays::create; Roles(REPLAYERS), Tenant),
    route!(GET / "v1" / "replays" => replays::list; Roles(REPLAYERS), Tenant),
    route!(GET / "v1" / "replays" / id => replays::one, id; Roles(REPLAYERS), Tenant),
    route!(GET / "v1" / "replays" / id / "feed" => replays::feed, id; Roles(REPLAYERS), Tenant),
    route!(POST / "v1" / "replays" / id / "pause" => replays::pause, id; Roles(REPLAYERS), Tenant),
    route!(POST / "v1" / "replays" / id / "resume" => replays::resume, id; Roles(REPLAYERS), Tenant),
    route!(POST / "v1" / "replays" / id / "cancel" => replays::cancel, id; Roles(REPLAYERS), Tenant),
    route!(GET / "v1" / "ledger" => ledger::head; Member, Tenant),
    route!(GET / "v1" / "stats" => stats::counts; Roles(role::READERS), FormFilter),
    route!(GET / "v1" / "diff" => diff::tenant; Roles(role::READERS), FormFilter),
    route!(GET / "v1" / "forms" => form_queries::list; Member, Tenant),
    route!(GET / "v1" / "forms" / form => form_queries::one, form; Member, Form),
    route!(GET / "v1" / "forms" / form / "versions" / version => form_queries::version, form, version; Member, Form),
    route!(PUT / "v1" / "forms" / form => forms::save_draft, form; Roles(DESIGNERS), Form),
    route!(POST / "v1" / "forms" / form / "publish" => forms::publish, form; Roles(DESIGNERS), Form),
    route!(POST / "v1" / "forms" / form / "retire" => forms::retire, form; Roles(DESIGNERS), Form),
    route!(GET / "v1" / "exports" / "submissions.csv" => exports::csv; Own, FormFilter),
    route!(GET / "v1" / "exports" / "submissions.ndjson" => exports::ndjson; Own, FormFilter),
    route!(GET / "v1" / "api-keys" => api_keys::list; Roles(ADMINS), Tenant),
    route!(POST / "v1" / "api-keys" => api_keys::create; Roles(ADMINS), Tenant),
    route!(DELETE / "v1" / "api-keys" / id => api_keys::revoke, id; Roles(ADMINS), Tenant),
    route!(GET / "v1" / "audit" => audit_settings::show; Roles(AUDITORS), Tenant),
    route!(PUT / "v1" / "audit" => audit_settings::configure; Roles(ADMINS), Tenant),
    route!(GET / "v1" / "audit" / "entries" => audit_settings::entries; Roles(AUDITORS), Tenant),
    route!(POST / "v1" / "tenants" => tenants::create; Roles(OPERATORS), Tenant),
    route!(GET / "healthz" => operations::healthz; Anybody, Tenant),
    route!(GET / "readyz" => operations::readyz; Anybody, Tenant),
    route!(GET / "metrics" => operations::metrics; Anybody, Tenant),
    route!(GET / "openapi.json" => operations::openapi; Anybody, Tenant),
    route!(GET => operations::index; Anybody, Tenant),
];

/// The head that `server` prepared, and the body.
fn request() -> impl Filter<Extract = (Arc<Head>, Body), Error = warp::Rejection> + Clone {
    warp::ext::get::<Arc<Head>>().and(warp::body::stream().map(Body::new))
}

/// Handles a request, and records what there is to record of its answer, also when the client leaves meanwhile.
fn audited(
    app: &Arc<Api>,
    head: &Arc<Head>,
    rule: &'static Rule,
    handled: impl Future<Output = Result<Response, ApiError>> + Send + 'static,
) -> impl Future<Output = Result<Response, ApiError>> + Send + 'static {
    let (app, head) = (Arc::clone(app), Arc::clone(head));
    async move {
        let handled = handled.await;
        if let Some(kind) = audit::worth(rule, &handled) {
            let begun = app.begun.clone();
            // On the heap, so that the future of a request that is not audited, which is most, stays small.
            begun.to_its_end(async move { audit::note(&app, &head, rule, kind).await }).await;
        }
        handled
    }
}

/// warp passes over a slash at a path's end, but a path with one names another resource, of which there is none.
fn no_trailing_slash(head: &Head) -> Result<(), ApiError> {
    let path = head.uri.path();
    if path.len() > 1 && path.ends_with('/') { Err(ApiError::NotFound("resource")) } else { Ok(()) }
}

/// A parameter as the client meant it (RFC 3986 section 2.1); nothing has a name that is not UTF-8.
fn decoded(parameter: &str) -> Result<String, ApiError> {
    let decoded = percent_decode_str(parameter).decode_utf8().map_err(|_| ApiError::NotFound("resource"))?;
    Ok(decoded.into_owned())
}

/// Tries the routes in order; the last link answers what no route did, so that no rejection is ever left over.
///
/// Linked from the end, because each link boxes a future: the first route, which is the hottest, pays for one.
fn chain(app: &Arc<Api>, routes: &[Route]) -> BoxedFilter<(Response,)> {
    let unmatched = Arc::new(RouteMetrics::unmatched());
    let last = warp::ext::get::<Arc<Head>>()
        .map(move |head: Arc<Head>| answer(&head, &unmatched, Err(unknown(&head))))
        .boxed();
    routes.iter().rev().fold(last, |rest, route| (route.filter)(app).or(rest).unify().boxed())
}

/// 405 with the methods that would do where the path is known, else 404.
fn unknown(head: &Head) -> ApiError {
    let mut allow: Vec<&str> =
        rules().filter(|rule| fits(rule.template, head.uri.path())).map(|rule| rule.method).collect();
    if allow.is_empty() {
        return ApiError::NotFound("resource");
    }
    if allow.contains(&Method::GET.as_str()) {
        allow.push(Method::HEAD.as_str());
    }
    ApiError::MethodNotAllowed { allow: allow.join(", ") }
}

fn fits(template: &str, path: &str) -> bool {
    let mut segments = path.split('/');
    let fit = template.split('/').all(|expected| {
        let fits = |given: &str| expected == given || expected.starts_with('{') && !given.is_empty();
        segments.next().is_some_and(fits)
    });
    fit && segments.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_fits_paths_with_any_parameter_and_no_others() {
        assert!(fits("/v1/forms/{form}", "/v1/forms/expense"));
        assert!(fits("/", "/"));
        assert!(!fits("/v1/forms/{form}", "/v1/forms"));
        assert!(!fits("/v1/forms/{form}", "/v1/forms/"));
        assert!(!fits("/v1/forms/{form}", "/v1/forms/expense/publish"));
    }
}

//! Every route, in the order in which it is tried: the table of contents of the HTTP API.
//! Called by `app`. A handler gets a [`Call`] and the path's parameters; refusals never travel as warp rejections.

use std::sync::Arc;

use http::Method;
use percent_encoding::percent_decode_str;
use warp::Filter;
use warp::filters::BoxedFilter;
use warp::reply::Response;

use crate::app::Api;
use crate::body::Body;
use crate::call::{Call, answer};
use crate::error::ApiError;
use crate::head::Head;
use crate::metrics::RouteMetrics;
use crate::{
    events, exports, feed, form_queries, forms, ledger, operations, stats, submission_queries, submissions,
    tasks, tenants, workflow,
};

/// One route: its filter, and the method and template under which it is documented, measured and found for `Allow`.
struct Route {
    method: &'static str,
    template: &'static str,
    filter: BoxedFilter<(Response,)>,
}

/// `route!(app, GET / "v1" / "forms" / form => forms::one, form)`: literals must match, names are parameters, percent-decoded text.
macro_rules! route {
    ($app:expr, $method:ident $(/ $segment:tt)* => $handler:path $(, $parameter:ident)*) => {{
        let template = concat!("/", route!(@template $($segment)*));
        let app = Arc::clone($app);
        let counted = Arc::new(RouteMetrics::new(stringify!($method), template));
        let filter = warp::any()
            $(.and(route!(@segment $segment)))*
            .and(warp::path::end())
            .and(route!(@method $method))
            .and(request())
            .then(move |$($parameter: String,)* head: Arc<Head>, body: Body| {
                let (app, counted) = (Arc::clone(&app), Arc::clone(&counted));
                async move {
                    let call = Call::new(app, Arc::clone(&head), body);
                    let handled = async {
                        no_trailing_slash(&head)?;
                        $(let $parameter = decoded(&$parameter)?;)*
                        $handler(call, $($parameter),*).await
                    };
                    answer(&head, &counted, handled.await)
                }
            })
            .boxed();
        Route { method: stringify!($method), template, filter }
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
}

/// The routes of the application.
pub fn routes(app: &Arc<Api>) -> BoxedFilter<(Response,)> {
    chain(table(app))
}

fn table(app: &Arc<Api>) -> Vec<Route> {
    vec![
        // The hot path first.
        route!(app, POST / "v1" / "forms" / form / "submissions" => submissions::submit, form),
        route!(app, GET / "v1" / "submissions" / id => submission_queries::one, id),
        route!(app, GET / "v1" / "submissions" => submission_queries::list),
        route!(app, GET / "v1" / "submissions" / id / "timeline" => submission_queries::timeline, id),
        route!(app, PATCH / "v1" / "submissions" / id => submissions::patch, id),
        route!(app, POST / "v1" / "submissions" / id / "submit" => submissions::submit_draft, id),
        route!(app, POST / "v1" / "submissions" / id / "transitions" / name => workflow::transition, id, name),
        route!(app, POST / "v1" / "submissions" / id / "comments" => workflow::comment, id),
        route!(app, POST / "v1" / "submissions" / id / "claim" => workflow::claim, id),
        route!(app, POST / "v1" / "submissions" / id / "assign" => workflow::assign, id),
        route!(app, POST / "v1" / "submissions" / id / "release" => workflow::release, id),
        route!(app, POST / "v1" / "submissions" / id / "delegate" => workflow::delegate, id),
        route!(app, POST / "v1" / "submissions" / id / "withdraw" => workflow::withdraw, id),
        route!(app, GET / "v1" / "tasks" => tasks::list),
        route!(app, GET / "v1" / "feed" => feed::subscribe),
        route!(app, GET / "v1" / "events" => events::list),
        route!(app, GET / "v1" / "ledger" => ledger::head),
        route!(app, GET / "v1" / "stats" => stats::counts),
        route!(app, GET / "v1" / "forms" => form_queries::list),
        route!(app, GET / "v1" / "forms" / form => form_queries::one, form),
        route!(app, GET / "v1" / "forms" / form / "versions" / version => form_queries::version, form, version),
        route!(app, PUT / "v1" / "forms" / form => forms::save_draft, form),
        route!(app, POST / "v1" / "forms" / form / "publish" => forms::publish, form),
        route!(app, POST / "v1" / "forms" / form / "retire" => forms::retire, form),
        route!(app, GET / "v1" / "exports" / "submissions.csv" => exports::csv),
        route!(app, GET / "v1" / "exports" / "submissions.ndjson" => exports::ndjson),
        route!(app, POST / "v1" / "tenants" => tenants::create),
        route!(app, GET / "healthz" => operations::healthz),
        route!(app, GET / "readyz" => operations::readyz),
        route!(app, GET / "metrics" => operations::metrics),
        route!(app, GET / "openapi.json" => operations::openapi),
        route!(app, GET => operations::index),
    ]
}

/// The head that `server` prepared, and the body.
fn request() -> impl Filter<Extract = (Arc<Head>, Body), Error = warp::Rejection> + Clone {
    warp::ext::get::<Arc<Head>>().and(warp::body::stream().map(Body::new))
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
fn chain(routes: Vec<Route>) -> BoxedFilter<(Response,)> {
    let known: Arc<[(&'static str, &'static str)]> =
        routes.iter().map(|route| (route.method, route.template)).collect();
    let unmatched = Arc::new(RouteMetrics::new("any", "unmatched"));
    let last = warp::ext::get::<Arc<Head>>()
        .map(move |head: Arc<Head>| answer(&head, &unmatched, Err(unknown(&head, &known))))
        .boxed();
    routes.into_iter().rev().fold(last, |rest, route| route.filter.or(rest).unify().boxed())
}

/// 405 with the methods that would do where the path is known, else 404.
fn unknown(head: &Head, known: &[(&'static str, &'static str)]) -> ApiError {
    let mut allow: Vec<&str> = known
        .iter()
        .filter(|(_, template)| fits(template, head.uri.path()))
        .map(|(method, _)| *method)
        .collect();
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

//! `If-Match` and `If-None-Match` on commands (RFC 9110 section 13): what must be there, what must not, and how lists of tags are read.

use http::Method;
use serde_json::{Value, json};

use crate::support::{Answer, Server, admin, bearer};

/// Saves a draft of the form `t` under a precondition.
async fn save(server: &Server, title: &str, field: &str, value: &str) -> Answer {
    let definition = json!({"title": title, "schema": {"type": "object"}});
    server.send_with(&admin("acme"), Method::PUT, "/v1/forms/t", &[(field, value)], &definition).await
}

#[tokio::test]
async fn a_form_is_only_made_where_it_is_asked_not_to_be_there_yet() {
    let server = Server::start().await;
    // Where there is no tenant yet, nothing is there.
    save(&server, "a", "if-none-match", "*").await.expect(200);
    for title in ["a", "b"] {
        let refused =
            save(&server, title, "if-none-match", "*").await.expect_problem(412, "precondition-failed");
        assert_eq!(refused["sequence"], 1);
        let told = "the resource is there, at sequence 1, and `If-None-Match: *` asks that it is not";
        assert_eq!(refused["detail"], told);
    }
    let definition = json!({"title": "b", "schema": {"type": "object"}});
    let other = [("if-none-match", "*")];
    server.send_with(&admin("acme"), Method::PUT, "/v1/forms/u", &other, &definition).await.expect(200);
}

#[tokio::test]
async fn tags_of_if_none_match_name_where_the_resource_must_not_be() {
    let server = Server::start().await;
    save(&server, "a", "if-none-match", "\"1\"").await.expect(200);
    for named in ["\"1\"", "W/\"1\"", "\"7\", \"1\""] {
        let refused =
            save(&server, "b", "if-none-match", named).await.expect_problem(412, "precondition-failed");
        assert_eq!(refused["sequence"], 1, "{named}");
    }
    save(&server, "b", "if-none-match", "\"2\"").await.expect(200);
    save(&server, "c", "if-none-match", "2").await.expect_problem(400, "header-invalid");
    // Both have to hold.
    let definition = json!({"title": "c", "schema": {"type": "object"}});
    let both = async |if_match: &str, if_none_match: &str| {
        let headers = [("if-match", if_match), ("if-none-match", if_none_match)];
        server.send_with(&admin("acme"), Method::PUT, "/v1/forms/t", &headers, &definition).await
    };
    both("\"2\"", "*").await.expect_problem(412, "precondition-failed");
    both("\"1\"", "\"1\"").await.expect_problem(412, "precondition-failed");
    both("\"2\"", "\"1\"").await.expect(200);
}

/// What is created only once is created once however often it is sent.
#[tokio::test]
async fn a_repeated_creation_gets_its_first_answer_under_its_key() {
    let server = Server::start().await;
    let definition = json!({"title": "a", "schema": {"type": "object"}});
    let headers = [("if-none-match", "*"), ("idempotency-key", "made")];
    let put =
        async || server.send_with(&admin("acme"), Method::PUT, "/v1/forms/t", &headers, &definition).await;
    let first = put().await.expect(200).json();
    assert_eq!(put().await.expect(200).json(), first);
}

/// A command on what is there is not done where it is asked not to be, and what begins something finds nothing there.
#[tokio::test]
async fn every_command_obeys_if_none_match() {
    let server = Server::start().await;
    let admin = admin("acme");
    server.publish(&admin, "expense").await;
    let star = [("if-none-match", "*")];
    let draft = json!({"data": {"amount": 1}, "draft": true});
    let path = "/v1/forms/expense/submissions";
    let made = server.send_with(&admin, Method::POST, path, &star, &draft).await.expect(201);
    let place = made.header("location").to_owned();
    let settings = json!({"refusals": false, "reads": false, "exports": false});
    for (method, path, body) in [
        (Method::PATCH, &*place, json!({"amount": 2})),
        (Method::POST, &*format!("{place}/submit"), Value::Null),
        (Method::POST, &*format!("{place}/comments"), json!({"text": "a word"})),
        (Method::POST, "/v1/forms/expense/publish", Value::Null),
        (Method::POST, "/v1/forms/expense/retire", Value::Null),
        (Method::PUT, "/v1/audit", settings),
    ] {
        let refused = server.send_with(&admin, method, path, &star, &body).await;
        refused.expect_problem(412, "precondition-failed");
    }
    server.send(&admin, Method::PATCH, &place, &json!({"amount": 2})).await.expect(200);
}

/// What a request says holds of each of its lines.
#[tokio::test]
async fn lines_of_a_request_obey_if_none_match_as_single_commands_do() {
    let server = Server::start().await;
    let admin = admin("acme");
    server.publish(&admin, "expense").await;
    let authorization = bearer(&admin);
    let send = async |path: &str, field: &str, line: &Value| {
        let fields = [
            ("authorization", &*authorization),
            ("content-type", "application/x-ndjson"),
            ("if-none-match", field),
        ];
        server.call(Method::POST, path, &fields, &format!("{line}\n")).await
    };
    let line = json!({"form": "expense", "data": {"amount": 1}});
    send("/v1/submissions:import", "3", &line).await.expect_problem(400, "header-invalid");
    let made = send("/v1/submissions:import", "*", &line).await.expect(200).json();
    assert_eq!(made["status"], 201, "{made}");
    let id = made["submission_id"].as_str().expect("an id");
    let line = json!({"submission_id": id, "transition": "approve"});
    let refused = send("/v1/submissions:transition", "*", &line).await.expect(200).json();
    assert_eq!(
        (&refused["status"], &refused["code"]),
        (&json!(412), &json!("precondition-failed")),
        "{refused}"
    );
}

#[tokio::test]
async fn empty_elements_of_a_list_of_tags_are_passed_over() {
    let server = Server::start().await;
    save(&server, "0", "if-none-match", "*").await.expect(200);
    for (sequence, list) in [(1, "\"1\","), (2, ", \"2\""), (3, "\"9\" ,, \"3\"")] {
        save(&server, &sequence.to_string(), "if-match", list).await.expect(200);
    }
    save(&server, "x", "if-match", ",").await.expect_problem(400, "if-match-invalid");
}

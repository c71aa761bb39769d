//! Plans of a page's statement in SQLite, and that it shows the same whichever way it goes. Postgres' plans: `projections/tests/plans.rs`.

use formledger_domain::Position;
use formledger_test_cluster::Database;
use sqlx::{Connection as _, Row as _, SqliteConnection};
use uuid::Uuid;

use super::*;
use crate::database::{Connection, Transaction};
use crate::place::ReadModelPlace;
use crate::read_models::{ReadModelSettings, ReadModels};
use crate::submissions::fields::FieldValue;
use crate::submissions::way::Kinds;

/// Filters that were slow once would be slow again unnoticed: every order must come out of an index as it is.
#[tokio::test]
async fn no_query_sorts_or_scans_a_table() {
    let mut database = SqliteConnection::connect("sqlite::memory:").await.expect("a database");
    crate::schema::migrate_sqlite(&mut database).await.expect("a schema");
    let tenant: TenantId = "acme".parse().expect("a slug");
    let form = Some("claim".parse().expect("a form id"));
    let conditions = ["/n=1", "/n!=x", "/n>=2", "/n<b"].map(|text| text.parse().expect("a condition"));
    let filters = [
        SubmissionQuery::default(),
        SubmissionQuery { form: form.clone(), ..Default::default() },
        SubmissionQuery { state: Some("review".to_owned()), ..Default::default() },
        SubmissionQuery { submitter: Some("ann".to_owned()), form: form.clone(), ..Default::default() },
        SubmissionQuery { changed_after: Some(Position(7)), form: form.clone(), ..Default::default() },
        SubmissionQuery { conditions: conditions.to_vec(), form: form.clone(), ..Default::default() },
    ];
    for filter in filters {
        for sort in ["created_at", "-created_at", "updated_at", "-updated_at", "/n", "-/n"] {
            // What changed is only ever listed in the order of its last event.
            let listed = filter.changed_after.is_none() || sort.ends_with("updated_at");
            if sort.ends_with("/n") && filter.form.is_none() || !listed {
                continue;
            }
            let query = SubmissionQuery { sort: sort.parse().expect("an order"), ..filter.clone() };
            for (goes_on, few) in [(false, false), (true, false), (true, true)] {
                let after = goes_on.then(|| match query.sort.key {
                    SortKey::Field(_) => PageKey::Field(vec![1, 0], 7),
                    _ => PageKey::Position(7),
                });
                let mut way = Way::of(&query, &Kinds::new(), after.as_ref());
                way.looks.iter_mut().for_each(|look| look.few = few);
                let sql = select(&tenant, &query, &way, after, 51, Dialect::Sqlite).expect("a statement");
                let explain = format!("EXPLAIN QUERY PLAN {}", sql.text());
                let plan = sqlx::query(&explain).fetch_all(&mut database).await.expect("a plan");
                for step in plan {
                    let step: String = step.get("detail");
                    assert!(
                        !step.contains("TEMP B-TREE") && !step.starts_with("SCAN"),
                        "{step} in the plan of {}: give it an index",
                        sql.text(),
                    );
                }
            }
        }
    }
}

#[tokio::test]
async fn few_matches_are_gathered_and_each_is_looked_up() {
    let mut database = SqliteConnection::connect("sqlite::memory:").await.expect("a database");
    crate::schema::migrate_sqlite(&mut database).await.expect("a schema");
    let tenant: TenantId = "acme".parse().expect("a slug");
    for condition in ["/n>=2", "/n=x", "/n=7"] {
        for (sort, goes_on, changed_after, state) in [
            ("created_at", false, None, None),
            ("-created_at", true, None, Some("review")),
            ("-updated_at", false, None, None),
            ("updated_at", true, None, Some("review")),
            ("updated_at", true, Some(Position(3)), None),
        ] {
            let query = SubmissionQuery {
                form: Some("claim".parse().expect("a form id")),
                conditions: [condition, "/c!=DE"].map(|text| text.parse().expect("a condition")).into(),
                sort: sort.parse().expect("an order"),
                state: state.map(str::to_owned),
                changed_after,
                ..Default::default()
            };
            let after = goes_on.then_some(PageKey::Position(7));
            let mut way = Way::of(&query, &Kinds::new(), after.as_ref());
            way.along = Along::Few(way.looks.remove(0).matches);
            let sql = select(&tenant, &query, &way, after, 51, Dialect::Sqlite).expect("a statement");
            let explain = format!("EXPLAIN QUERY PLAN {}", sql.text());
            let plan = sqlx::query(&explain).fetch_all(&mut database).await.expect("a plan");
            let steps: Vec<String> = plan.iter().map(|step| step.get("detail")).collect();
            let each =
                steps.iter().any(|step| step.starts_with("SEARCH s ") && step.contains("created_position=?"));
            assert!(each, "{steps:?}");
            assert!(!steps.iter().any(|step| step.starts_with("SCAN")), "{steps:?}");
            let sorted = steps.iter().any(|step| step.contains("TEMP B-TREE"));
            assert_eq!(sorted, sort.ends_with("updated_at"), "{steps:?}");
        }
    }
}

/// Every way that a page can go, by what may be counted.
fn ways<'q>(query: &'q SubmissionQuery, after: Option<&PageKey>) -> Vec<Way<'q>> {
    let counted = |few| {
        let mut way = Way::of(query, &Kinds::new(), after);
        way.looks.iter_mut().for_each(|look| look.few = few && !look.negated);
        way
    };
    let mut ways = vec![counted(false), counted(true)];
    let looks = if ways[0].along == Along::Submissions { ways[0].looks.len() } else { 0 };
    for (place, few) in (0..looks).flat_map(|place| [(place, false), (place, true)]) {
        let mut way = counted(few);
        if !way.looks[place].negated {
            way.along = Along::Few(way.looks.remove(place).matches);
            ways.push(way);
        }
    }
    ways
}

/// The positions of all rows, page by page, of which each goes one of [`ways`].
async fn listed(snapshot: &mut Connection<'_>, query: &SubmissionQuery, way: usize) -> Option<Vec<i64>> {
    const ROWS: u32 = 4;
    let tenant: TenantId = "acme".parse().expect("a slug");
    let (mut positions, mut after) = (Vec::new(), None);
    loop {
        let ways = ways(query, after.as_ref());
        let way = ways.get(way)?;
        let sql = select(&tenant, query, way, after, ROWS, snapshot.dialect()).expect("a statement");
        let rows = sql.rows(snapshot).await.expect("rows");
        positions.extend(rows.iter().map(|row| row.get::<i64>("created_position").expect("a position")));
        if rows.len() < ROWS as usize {
            return Some(positions);
        }
        after = rows.last().map(|row| page_key(query, row).expect("a key"));
    }
}

/// Statements that fill empty read models: two tenants, fifty submissions each, with `/n` a number or a text and `/c` one of two texts.
fn filled(dialect: Dialect) -> String {
    let form = "claim".parse().expect("a form id");
    let bytes = |bytes: &[u8]| match dialect {
        Dialect::Sqlite => format!("X'{}'", hex(bytes)),
        Dialect::Postgres => format!("'\\x{}'::bytea", hex(bytes)),
    };
    let mut script = String::new();
    for (tenant, turn) in [("acme", 0), ("globex", 3)] {
        for place in 1..=50_u64 {
            let id = Uuid::from_u128(place.into());
            let id = match dialect {
                Dialect::Sqlite => bytes(id.as_bytes()),
                Dialect::Postgres => format!("'{id}'"),
            };
            let updated = 100 + (place * 7) % 50;
            let state = if place % 3 == 0 { "review" } else { "done" };
            script += &format!(
                "INSERT INTO submissions VALUES ('{tenant}', {id}, 'claim', 1, '{state}', 'ann', 0, 0, \
                 {place}, {updated}, 1, '{{}}', NULL, NULL);"
            );
            let number = (place * 11 + turn) % 13;
            let n = match place % 5 {
                0 => FieldValue::text(&number.to_string()),
                _ => FieldValue::Number((number as f64).into()),
            };
            let c = FieldValue::text(if (place + turn) % 2 == 0 { "DE" } else { "IT" });
            for (pointer, value) in [("/n", n), ("/c", c)] {
                let key = bytes(&FieldPrefix::new(&form, pointer).key(&value));
                script += &format!("INSERT INTO field_keys VALUES ('{tenant}', {key}, {place});");
            }
        }
    }
    script
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Asks for all pairs of conditions, in every order.
async fn every_way_shows_the_same(mut snapshot: Transaction<'static>) {
    let snapshot = &mut snapshot.connection();
    let texts = ["/n>=3", "/n<9", "/n=7", "/n=\"7\"", "/n!=7", "/n>5", "/c=DE", "/c!=DE", "/c>=E"];
    let (mut several, mut shown) = (0, 0);
    for (first, one) in texts.iter().enumerate() {
        for two in &texts[first..] {
            for sort in ["created_at", "-created_at", "updated_at", "-updated_at", "/n", "-/n", "-/c"] {
                let query = SubmissionQuery {
                    form: Some("claim".parse().expect("a form id")),
                    state: (first % 2 == 0).then(|| "review".to_owned()),
                    conditions: [one, two].map(|text| text.parse().expect("a condition")).into(),
                    sort: sort.parse().expect("an order"),
                    ..Default::default()
                };
                let expected = listed(snapshot, &query, 0).await.expect("a way");
                shown += expected.len();
                let mut way = 1;
                while let Some(found) = listed(snapshot, &query, way).await {
                    let went = &ways(&query, None)[way];
                    assert_eq!(found, expected, "{one} {two} by {sort}: {went:?}");
                    way += 1;
                }
                several += way;
            }
        }
    }
    assert!(several > 800 && shown > 2_000, "{several} lists of {shown} rows were compared");
}

#[tokio::test]
async fn every_way_shows_the_same_in_sqlite() {
    let directory = tempfile::tempdir().expect("a directory");
    let place = ReadModelPlace::file(&directory.path().join("read-models.db"));
    let models = ReadModels::open(place, ReadModelSettings::default()).await.expect("opens");
    let url = format!("sqlite://{}", directory.path().join("read-models.db").display());
    let mut database = SqliteConnection::connect(&url).await.expect("a database");
    sqlx::raw_sql(&filled(Dialect::Sqlite)).execute(&mut database).await.expect("rows");
    let tenant = "acme".parse().expect("a slug");
    every_way_shows_the_same(models.readers().snapshot(&tenant).await.expect("a snapshot")).await;
}

#[tokio::test]
async fn every_way_shows_the_same_in_postgres() {
    let database = Database::create().await;
    let place = ReadModelPlace::postgres(&database.url()).expect("a place");
    let models = ReadModels::open(place, ReadModelSettings::default()).await.expect("opens");
    let script = format!("SET search_path TO read_models; {}", filled(Dialect::Postgres));
    sqlx::raw_sql(&script).execute(&mut database.connect().await).await.expect("rows");
    let tenant = "acme".parse().expect("a slug");
    every_way_shows_the_same(models.readers().snapshot(&tenant).await.expect("a snapshot")).await;
}

/// A page costs what it shows, however many the conditions let through and however far down the list it is.
#[tokio::test]
async fn conditions_bound_what_a_page_goes_along() {
    let mut database = SqliteConnection::connect("sqlite::memory:").await.expect("a database");
    crate::schema::migrate_sqlite(&mut database).await.expect("a schema");
    let tenant: TenantId = "acme".parse().expect("a slug");
    let (within, one) = ("(tenant_id=? AND field_key>? AND field_key<?)", "(tenant_id=? AND field_key=?");
    for (conditions, sort, searched) in [
        (vec!["/n>=2"], "-/n", within),
        (vec!["/n>2", "/n<=7"], "/n", within),
        (vec!["/n=x"], "/n", within),
        (vec!["/c=DE"], "created_at", one),
        (vec!["/c=DE"], "-created_at", one),
    ] {
        let query = SubmissionQuery {
            form: Some("claim".parse().expect("a form id")),
            conditions: conditions.iter().map(|text| text.parse().expect("a condition")).collect(),
            sort: sort.parse().expect("an order"),
            ..Default::default()
        };
        for after in [None, Some(())] {
            let after = after.map(|()| match query.sort.key {
                SortKey::Field(_) => PageKey::Field(vec![1, 0], 7),
                _ => PageKey::Position(7),
            });
            let goes_on = after.is_some();
            let way = Way::of(&query, &Kinds::new(), after.as_ref());
            let sql = select(&tenant, &query, &way, after, 51, Dialect::Sqlite).expect("a statement");
            let explain = format!("EXPLAIN QUERY PLAN {}", sql.text());
            let plan = sqlx::query(&explain).fetch_all(&mut database).await.expect("a plan");
            let steps: Vec<String> = plan.iter().map(|step| step.get("detail")).collect();
            assert!(steps[0].starts_with("SEARCH f ") && steps[0].contains(searched), "{steps:?}");
            let from_there = searched != one || !goes_on || steps[0].contains("AND created_position");
            assert!(from_there, "{sort}: {steps:?}");
            assert!(steps.len() == 2 && steps[1].starts_with("SEARCH s "), "{conditions:?}: {steps:?}");
        }
    }
}

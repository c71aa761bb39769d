//! What an upgrade keeps.

use formledger_domain::Position;
use formledger_test_cluster::Database;

use super::*;
use crate::checkpoint::{self, Checkpoint};
use crate::place::ReadModelPlace;
use crate::position::ReadModel;
use crate::read_models::{ReadModelSettings, ReadModels};
use crate::witness;

/// The schema before checkpoints became one row a tenant, and what a node of that time left in it.
const BEFORE: usize = 7;
const LEFT: &str = "
    INSERT INTO checkpoints (tenant_id, projection, version, position, previous, status, error) VALUES
        ('acme', 'forms', {forms}, 9, 7, 'following', NULL), ('acme', 'submissions', {submissions}, 8, 7, 'parked', 'unreadable'),
        ('acme', 'statistics', 1, 9, 7, 'following', NULL), ('globex', 'tasks', {tasks}, 4, 0, 'following', NULL);
    INSERT INTO witnesses (tenant_id, first_hash, position, last_hash) VALUES
        ('acme', {one}, 9, {two}), ('nobody', NULL, 3, {two})";

fn left(bytes: impl Fn(&str) -> String) -> String {
    LEFT.replace("{forms}", &ReadModel::Forms.version().to_string())
        .replace("{submissions}", &ReadModel::Submissions.version().to_string())
        .replace("{tasks}", &ReadModel::Tasks.version().to_string())
        .replace("{one}", &bytes(&"01".repeat(32)))
        .replace("{two}", &bytes(&"02".repeat(32)))
}

async fn checkpoints_and_witnesses_are_kept(place: ReadModelPlace) {
    let models = ReadModels::open(place, ReadModelSettings::default()).await.expect("upgrades");
    let mut writer = models.writer().await.expect("a writer");
    let mut connection = writer.connection();
    let following = |position| Checkpoint { position, parked: None };
    let mut of = Vec::new();
    for read_model in ReadModel::ALL {
        let all = checkpoint::load_all(&mut connection, read_model).await.expect("checkpoints");
        let mut all: Vec<_> =
            all.into_iter().map(|(tenant, checkpoint)| (tenant.to_string(), checkpoint)).collect();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        of.push(all);
    }
    let acme = |checkpoint: Checkpoint| vec![("acme".to_owned(), checkpoint)];
    let parked = Checkpoint { parked: Some("unreadable".to_owned()), ..following(Position(8)) };
    assert_eq!(of[0], acme(following(Position(9))));
    assert_eq!(of[1], acme(parked));
    assert_eq!(of[2], [], "of another version, to be made again");
    assert_eq!(of[3], [("globex".to_owned(), following(Position(4)))]);
    let others = sql("SELECT tenant_id FROM checkpoints WHERE statistics_version = 1");
    let others = others.one(&mut connection).await.expect("a tenant").value::<String>().expect("a name");
    assert_eq!(others, "acme");
    let witnesses = witness::load_all(&mut connection).await.expect("witnesses");
    let told: Vec<_> =
        witnesses.iter().map(|one| (one.tenant.as_str(), one.first, one.position, one.last)).collect();
    assert_eq!(told, [("acme", Some([1; 32]), Position(9), [2; 32])]);
}

#[tokio::test]
async fn checkpoints_and_witnesses_are_kept_on_sqlite() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("read-models.db");
    let mut connection = sqlite_migrating(&file).await.expect("a file");
    for migration in &MIGRATIONS[..BEFORE] {
        connection.execute(migration.sqlite).await.expect("applies");
    }
    let stamp = format!("PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {BEFORE}");
    connection.execute(&*stamp).await.expect("stamps");
    connection.execute(&*left(|hex| format!("x'{hex}'"))).await.expect("rows");
    connection.close().await.expect("closes");
    checkpoints_and_witnesses_are_kept(ReadModelPlace::file(&file)).await;
}

/// A database as a node of that time left it.
async fn earlier_postgres() -> Database {
    let database = Database::create().await;
    let mut connection = database.connect().await;
    let begin = format!(
        "CREATE SCHEMA read_models; SET search_path TO read_models; CREATE TABLE schema_version (version bigint NOT NULL); \
         INSERT INTO schema_version VALUES ({BEFORE})"
    );
    connection.execute(&*begin).await.expect("begins");
    for migration in &MIGRATIONS[..BEFORE] {
        connection.execute(migration.postgres).await.expect("applies");
    }
    connection.execute(&*left(|hex| format!("'\\x{hex}'"))).await.expect("rows");
    connection.close().await.expect("closes");
    database
}

#[tokio::test]
async fn checkpoints_and_witnesses_are_kept_on_postgres() {
    let database = earlier_postgres().await;
    let place = ReadModelPlace::postgres(&database.url()).expect("a URL");
    checkpoints_and_witnesses_are_kept(place).await;
}

#[tokio::test]
async fn what_a_url_came_to_lead_to_is_not_brought_up_to_date() {
    let database = earlier_postgres().await;
    let ReadModelPlace(place) = ReadModelPlace::postgres(&database.url()).expect("a URL");
    let refused = migrate_if_new(&place).await.expect_err("it may be another installation's");
    assert!(matches!(refused, OpenError::Older { found: 7, .. }), "{refused}");
    let version = "SELECT version FROM read_models.schema_version";
    let mut connection = database.connect().await;
    assert_eq!(sqlx::query_scalar::<_, i64>(version).fetch_one(&mut connection).await.expect("there"), 7);
    connection.execute("DROP SCHEMA read_models CASCADE").await.expect("drops");
    migrate_if_new(&place).await.expect("an empty one is begun");
    migrate_if_new(&place).await.expect("and used");
}

#[tokio::test]
async fn a_login_that_inherits_nothing_is_told_what_it_came_to() {
    let database = earlier_postgres().await;
    let login = format!("login_{}", database.name());
    let create =
        format!("CREATE ROLE {login} LOGIN NOINHERIT IN ROLE formledger_projector, formledger_reader");
    database.connect().await.execute(&*create).await.expect("creates");
    let place = |url: &str| ReadModelPlace::postgres(url).expect("a URL").0;
    let serving = place(&database.url().replace("//postgres", &format!("//{login}")));
    let refused = migrate_if_new(&serving).await.expect_err("it is older");
    assert!(matches!(refused, OpenError::Older { found: 7, .. }), "{refused}");
    migrate(&place(&database.url())).await.expect("its owner migrates");
    migrate_if_new(&serving).await.expect("nothing is missing");
}

//! Counts stand in two places: what was added lately in the tenants' checkpoints, the rest in tables.

mod support;

on_both_databases! {
    counts_are_the_same_wherever_they_stand,
    counts_that_are_made_again_begin_with_nothing,
}

use formledger_projections::{ReadModel, RebuildRequest, Statistics};
use serde_json::json;
use support::{On, World, on_both_databases, slug};

/// So many forms that the counts of a turn do not fit into a checkpoint, of one tenant; few of another; and of one so many that those of all turns do not.
const FORMS: [(&str, usize); 3] = [("acme", 14), ("globex", 1), ("initech", 7)];

async fn submit(world: &World, tenant: &str, forms: usize, turn: usize) {
    for form in 0..forms {
        let said = format!("{}", (turn * form) % 5);
        let outcomes =
            json!({"route": {"matched": true, "value": {"to": said}}, "rare": {"matched": turn == form}});
        world
            .tenant(tenant)
            .submit_with_outcomes(&format!("form-{form}"), json!({"n": turn}), outcomes)
            .await;
    }
}

async fn counted(world: &World, tenant: &str) -> Statistics {
    world.reader(tenant).statistics(None).await.expect("counts").value
}

/// What every form of a tenant must have been counted for.
fn check(statistics: &Statistics, forms: usize, turns: usize) {
    let turns = turns as u64;
    assert_eq!(statistics.states.iter().map(|state| state.count).collect::<Vec<_>>(), vec![turns; forms]);
    assert_eq!(statistics.days.iter().map(|day| day.count).sum::<u64>(), turns * forms as u64);
    for form in 0..forms {
        let of_form =
            statistics.outcomes.iter().filter(|outcome| outcome.form.as_str() == format!("form-{form}"));
        let [mut route, mut rare] = [0, 0];
        for outcome in of_form {
            match &*outcome.rule {
                "route" => route += outcome.count,
                _ => rare += outcome.count,
            }
        }
        assert_eq!([route, rare], [turns, turns], "form-{form}");
    }
}

async fn filled(on: On, turns: usize) -> World {
    let mut world = World::new(on).await;
    for (tenant, forms) in FORMS {
        for form in 0..forms {
            world.tenant(tenant).publish(&format!("form-{form}"), 1, &[]).await;
        }
    }
    for turn in 0..turns {
        for (tenant, forms) in FORMS {
            submit(&world, tenant, forms, turn).await;
        }
        // Who remembers takes turns with who does not.
        if turn % 2 == 0 {
            world.run_once().await;
        } else {
            world.another_runner().run_once().await.expect("a run");
        }
    }
    world.run_once().await;
    world
}

async fn counts_are_the_same_wherever_they_stand(on: On) {
    const TURNS: usize = 7;
    let mut world = filled(on, TURNS).await;
    for (tenant, forms) in FORMS {
        check(&counted(&world, tenant).await, forms, TURNS);
        let form =
            world.reader(tenant).statistics(Some(&"form-0".parse().expect("a form"))).await.expect("counts");
        assert_eq!(form.value.states.len(), 1);
        assert_eq!(form.value.states[0].count, TURNS as u64);
        assert_eq!(form.value.days.iter().map(|day| day.count).sum::<u64>(), TURNS as u64);
    }
    assert_eq!(world.differences_from_rebuilt().await, []);

    // Fresh rows have fewer of them in checkpoints, or more.
    for read_models in [ReadModel::ALL.to_vec(), vec![ReadModel::Statistics], vec![ReadModel::Forms]] {
        for tenant in [None, Some(slug("acme"))] {
            world.rebuild(RebuildRequest { read_models: read_models.clone(), tenant }).await;
            for (tenant, forms) in FORMS {
                check(&counted(&world, tenant).await, forms, TURNS);
            }
        }
    }
    // Positions are what they were to the process that follows; what it remembers of the counts stands elsewhere by now.
    for (tenant, forms) in FORMS {
        submit(&world, tenant, forms, TURNS).await;
    }
    world.run_once().await;
    for (tenant, forms) in FORMS {
        check(&counted(&world, tenant).await, forms, TURNS + 1);
    }
    assert_eq!(world.differences_from_rebuilt().await, []);
}

async fn counts_that_are_made_again_begin_with_nothing(on: On) {
    let world = filled(on, 3).await;
    world.tamper("UPDATE checkpoints SET statistics_version = 1").await;
    world.another_runner().run_once().await.expect("a run");
    for (tenant, forms) in FORMS {
        check(&counted(&world, tenant).await, forms, 3);
    }
    assert_eq!(world.differences_from_rebuilt().await, []);
}

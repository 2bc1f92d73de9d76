//! Plans of small clusters: figures against the closed form, what is recommended, and who is named.

use super::derive::size;
use super::limit::{Change, Link};
use super::*;

const MBIT: f64 = 125_000.0;

/// A group: its name, hosts, tokens a second, Mbit/s up.
type Hosts<'a> = (&'a str, usize, u32, f64);

fn scenario(groups: &[Hosts]) -> Scenario {
    let group = |(name, count, speed, up): &Hosts| {
        format!(
            "[[group]]\nname = \"{name}\"\ncount = {count}\ntokens_per_s = {speed}\nup_mbit = {up}\ndown_mbit = 1000\n\
             latency_ms = 5\n"
        )
    };
    let run = "name = \"small\"\nlearner = \"phantom\"\nrounds = 3\n[run]\nparams = \"1M\"\ncontext = 256\nsteps = 10\nbatch = 4\n";
    let groups: String = groups.iter().map(group).collect();
    Scenario::parse(&format!("{run}{groups}"), "small.toml").expect("it is sound")
}

fn ask() -> Ask {
    Ask {
        params: None,
        tokens: None,
        batch: None,
        utilisation: 0.9,
        steps_max: 500,
        seed: 1,
        jobs: 2,
    }
}

fn planned(groups: &[Hosts]) -> Plan {
    plan(&scenario(groups), &ask()).expect("it can be planned")
}

fn with(plan: &Plan, pace: Pace, codec: Codec) -> &Prospect {
    let is = |p: &&Prospect| p.setting.pace == pace && p.setting.codec == Codecs::both(codec);
    plan.prospects.iter().find(is).expect("every pair is planned")
}

fn within(got: f64, wanted: f64, share: f64) -> bool {
    (got / wanted - 1.0).abs() <= share
}

/// Each of two hosts sends as many bytes as the model has, whoever owns what.
#[test]
fn two_equal_hosts_exchange_for_bytes_over_rate() {
    let plan = planned(&[("home", 2, 10_000, 2.0)]);
    for codec in Codec::NEARLY_EXACT {
        let prospect = with(&plan, Pace::Steps, codec);
        let bytes = codec.encoded_len(plan.params as usize) as f64;
        let seconds = bytes / (2.0 * MBIT);
        assert!(within(prospect.exchange_bound_s, seconds, 1e-6), "{codec}");
        assert!(within(prospect.round.exchange_s, seconds, 0.05), "{codec}: {prospect:?}");
        assert!(within(prospect.sent()[1], bytes, 0.05), "{codec}: {prospect:?}");
    }
}

/// Four equal hosts send 2 (n - 1) / n times the model each.
#[test]
fn four_equal_hosts_come_near_the_bound() {
    let plan = planned(&[("home", 4, 10_000, 2.0)]);
    let best = plan.best();
    let bytes = 1.5 * Codec::Int8.encoded_len(plan.params as usize) as f64;
    assert!(within(best.exchange_bound_s, bytes / (2.0 * MBIT), 1e-6));
    assert!(best.round.exchange_s >= best.exchange_bound_s);
    assert!(within(best.round.exchange_s, best.exchange_bound_s, 0.15), "{best:?}");
    assert_eq!(plan.limit.exchange, Link::AllUplinks);
}

#[test]
fn every_strategy_and_codec_is_there_and_the_smallest_bytes_win() {
    let plan = planned(&[("home", 3, 10_000, 2.0)]);
    assert_eq!(plan.prospects.len(), Pace::ALL.len() * Codec::NEARLY_EXACT.len());
    assert_eq!(plan.best().setting.codec, Codecs::both(Codec::Int8));
    let [int8, f32] = [Codec::Int8, Codec::F32].map(|codec| with(&plan, Pace::Steps, codec));
    assert!(within(f32.sent()[1] / int8.sent()[1], 4.0, 0.05));
    assert!(f32.steps_wanted > int8.steps_wanted);
}

#[test]
fn a_pair_of_codecs_that_the_scenario_names_is_planned_too() {
    let mut scenario = scenario(&[("home", 2, 10_000, 2.0)]);
    scenario.run.up = Some(Codec::Bf16);
    let found = options(&scenario)
        .iter()
        .filter(|(_, codec)| codec.to_string() == "bf16 up, int8 down")
        .count();
    assert_eq!(found, Pace::ALL.len());
}

#[test]
fn wider_links_need_fewer_local_steps() {
    let steps = [2.0, 4.0, 8.0, 16.0].map(|up| {
        let plan = planned(&[("home", 3, 10_000, up)]);
        let best = plan.best();
        assert!(best.reaches && best.round.utilisation >= 0.9, "{best:?}");
        // With 5 % less of the steps it would not have been reached: the fewest are recommended.
        assert!(best.line.utilisation(0.95 * best.setting.amount as f64) < 0.905, "{best:?}");
        best.steps[1]
    });
    assert!(steps.windows(2).all(|pair| pair[0] > pair[1]), "{steps:?}");
}

#[test]
fn the_planted_slow_uplink_is_named_and_better_left_out() {
    let plan = planned(&[("fibre", 7, 10_000, 50.0), ("dsl", 1, 10_000, 0.5)]);
    let dsl = 7;
    assert_eq!((plan.limit.exchange, plan.limit.host), (Link::OneUplink, Some(dsl)));
    let without =
        plan.what_ifs.iter().find(|w| w.change == Change::Without(dsl)).expect("it is tried");
    assert!(without.round < -0.1 && without.verdict() == "leave it out", "{without:?}");
    let wider =
        plan.what_ifs.iter().find(|w| w.change == Change::WiderUplink(dsl)).expect("it is tried");
    assert!(wider.round < -0.1 && wider.verdict() == "worth it", "{wider:?}");
    let others = plan.limit.without_bound_s.expect("one host limits it");
    assert!(others < 0.1 * plan.best().exchange_bound_s, "{:?}", plan.limit);
    let page = page::text(&plan);
    assert!(page.contains("the uplink of dsl-1 (0.5 Mbit/s up)"), "{page}");
}

#[test]
fn unequal_hosts_train_for_the_same_time() {
    let plan = planned(&[("fast", 4, 20_000, 8.0), ("slow", 2, 10_000, 8.0)]);
    let best = plan.best();
    assert_eq!(best.setting.pace, Pace::Time);
    assert!(
        best.reaches && within(best.steps[2] as f64, 2.0 * best.steps[0] as f64, 0.1),
        "{best:?}"
    );
    assert_eq!(plan.limit.straggler, None);
    // Of hosts that are twice as slow rounds do not wait for ever, but too long.
    let same = with(&plan, Pace::Steps, Codec::Int8);
    assert!(same.round.members < 6 && same.utilisation_most < 0.9, "{same:?}");
    assert_eq!(same.steps_wanted, None);
}

/// With the same steps two train always and four for 7 parts of 10: (2 + 4 * 0.7) / 6.
#[test]
fn hosts_that_wait_for_each_other_never_train_all_the_time() {
    let plan = planned(&[("fast", 4, 20_000, 8.0), ("slow", 2, 14_000, 8.0)]);
    let same = with(&plan, Pace::Steps, Codec::Int8);
    assert!(same.round.members == 6 && within(same.utilisation_most, 0.8, 0.02), "{same:?}");
    assert!(plan.hosts[same.round.last_ready()].name.starts_with("slow"), "{same:?}");
}

/// Where an exchange takes next to no time, a few steps are enough, though with one or two of them hosts are far from equal.
#[test]
fn next_to_no_exchange_needs_few_steps() {
    let tiny = Ask { params: Some(100_000), ..ask() };
    let plan = plan(&scenario(&[("fast", 3, 2_000, 900.0), ("slow", 1, 300, 900.0)]), &tiny)
        .expect("it can be planned");
    let best = plan.best();
    assert!(best.reaches && best.setting.pace == Pace::Time && best.steps[2] < 200, "{best:?}");
    assert_eq!(plan.limit.exchange, Link::Latency);
}

#[test]
fn too_many_steps_are_not_recommended() {
    let plan = plan(&scenario(&[("home", 3, 10_000, 2.0)]), &Ask { steps_max: 5, ..ask() })
        .expect("it can be planned");
    let best = plan.best();
    assert!(!best.reaches && best.steps == [5, 5, 5] && best.steps_wanted > Some(5), "{best:?}");
    let page = page::text(&plan);
    assert!(
        page.contains("90.0 % in training is not reached with at most 5 local steps"),
        "{page}"
    );
}

#[test]
fn the_whole_simulation_agrees_with_the_prediction() {
    let plan = planned(&[("fibre", 4, 12_000, 20.0), ("cable", 4, 8_000, 5.0)]);
    assert!(within(plan.check.round_s, plan.best().round.round_s, 0.02), "{plan:?}");
    assert!(within(plan.check.utilisation, plan.best().round.utilisation, 0.02), "{plan:?}");
}

#[test]
fn a_larger_model_is_as_much_slower() {
    let twice = Ask { params: Some(2_000_000), ..ask() };
    let cluster =
        Cluster::new(&scenario(&[("home", 2, 10_000, 2.0)]), &twice).expect("it is sound");
    assert_eq!(cluster.hosts[0].tokens_per_s, 5_000.0);
    assert!(within(cluster.spec.elems() as f64, 2e6, 0.25));
}

#[test]
fn what_cannot_be_planned_is_refused_with_the_reason_and_the_mend() {
    let refused =
        |groups: &[Hosts], ask: Ask| plan(&scenario(groups), &ask).expect_err("it is refused");
    let huge = refused(&[("home", 2, 10_000, 2.0)], Ask { params: Some(30_000_000_000), ..ask() });
    assert!(huge.ends_with("hold 17179869184: take a smaller model"), "{huge}");
    let tiny = refused(&[("home", 2, 10_000, 2.0)], Ask { params: Some(5), ..ask() });
    assert!(tiny.starts_with("5 parameters: the nearest model"), "{tiny}");
    for (text, number) in [("1B", 1_000_000_000), ("350M", 350_000_000), ("1.5B", 1_500_000_000)] {
        assert_eq!(size(text), Ok(number));
    }
    for text in ["", "0", "many", "-1B", "1X"] {
        assert!(size(text).is_err_and(|why| why.contains("such as 350M, 1B or 1.5B")), "{text}");
    }
}

#[test]
fn of_a_crowd_as_many_as_a_round_has_are_planned_with() {
    let crowd = scenario(&[("fibre", 60, 10_000, 20.0), ("cable", 20, 10_000, 20.0)]);
    let cluster = Cluster::new(&crowd, &ask()).expect("it is sound");
    let cable = cluster.hosts.iter().filter(|host| host.name.starts_with("cable")).count();
    assert_eq!((cluster.hosts.len(), cable), (64, 16));
    assert_eq!(cluster.left_out, ["16 of 80 hosts, since a round has 64 members at the most"]);
}

/// A state of more chunks than a manifest may name cannot be fetched.
#[test]
fn memory_grows_with_the_model() {
    let of = |params| {
        let ask = Ask { params: Some(params), ..ask() };
        let cluster =
            Cluster::new(&scenario(&[("home", 2, 10_000, 2.0)]), &ask).expect("it is sound");
        (memory::memory(&cluster.spec, &Codecs::both(Codec::F32)), cluster.spec.elems() as f64)
    };
    let (small, params) = of(1_000_000_000);
    // 12 of workspace, 8 of the inner optimiser, two states of 8, four results of 4; then 16 and two of 4 more.
    assert_eq!((small.resting, small.most), (52.0 * params, 76.0 * params));
    assert!(small.can_join && !of(5_000_000_000).0.can_join);
}

#[test]
fn threads_change_nothing_and_pages_show_the_plan() {
    let scenario = scenario(&[("a<b", 2, 10_000, 2.0), ("cable", 1, 8_000, 2.0)]);
    let [one, three] =
        [1, 3].map(|jobs| plan(&scenario, &Ask { jobs, ..ask() }).expect("it can be planned"));
    let [json, again] =
        [&one, &three].map(|plan| serde_json::to_string(plan).expect("it is plain"));
    assert_eq!(json, again);
    let svg = picture::picture(&one);
    let simulated: usize = one.prospects.iter().map(|p| p.simulated.len()).sum();
    assert_eq!(svg.matches("r=\"4\"").count(), simulated);
    let html = page::html(&one, &svg);
    assert!(html.contains("a&lt;b-1") && !html.contains("a<b") && html.contains("</svg>"));
}

//! A plan in words and tables: first what to do, then why.

use super::limit::{Link, WhatIf};
use super::render::{self, Block, bytes, count, duration, mbit, percent};
use super::steps::Prospect;
use super::{Pace, Plan};

/// Rows of the table of hosts.
const HOSTS_MAX: usize = 24;

/// The page for a terminal.
pub fn text(plan: &Plan) -> String {
    render::text(&blocks(plan))
}

/// The page for a browser, with its picture.
pub fn html(plan: &Plan, picture: &str) -> String {
    render::html(&blocks(plan), picture)
}

fn blocks(plan: &Plan) -> Vec<Block> {
    let days = duration(86_400.0 * plan.days(&plan.best().round));
    let mut blocks = vec![Block::Title(format!(
        "{} parameters on {}, {} hosts: {} tokens in {days}",
        count(plan.params as f64),
        plan.cluster,
        plan.hosts.len(),
        count(plan.tokens as f64),
    ))];
    advice(plan, &mut blocks);
    alternatives(plan, &mut blocks);
    limits(plan, &mut blocks);
    hosts(plan, &mut blocks);
    memory(plan, &mut blocks);
    basis(plan, &mut blocks);
    blocks
}

// ---- what to do --------------------------------------------------------------------------------------------------

fn advice(plan: &Plan, blocks: &mut Vec<Block>) {
    let best = plan.best();
    let [_, median, most] = best.sent();
    let per_day = 86_400.0 / best.round.round_s;
    blocks.extend([
        Block::Heading("Do this"),
        Block::Text("In the run file:".into()),
        Block::Code(run_file(best)),
        Block::Text(format!("Local steps: {}.", steps_in_words(best))),
        Block::Text(format!(
            "A round takes {}. Of it hosts train {} on average and exchange {} ({}); no exchange over these links takes less \
             than {}.",
            duration(best.round.round_s),
            percent(best.round.utilisation),
            percent(best.round.exchanging()),
            duration(best.round.exchange_s),
            duration(best.exchange_bound_s),
        )),
        Block::Text(format!(
            "Together {} tokens a second: {} tokens in {}.",
            count(best.round.tokens_per_s),
            count(plan.tokens as f64),
            duration(86_400.0 * plan.days(&best.round)),
        )),
        Block::Text(format!(
            "A host sends {} a round and about {} a day; the one that sends most, {} and {}.",
            bytes(median),
            bytes(median * per_day),
            bytes(most),
            bytes(most * per_day),
        )),
    ]);
    blocks.extend(shortfall(plan).map(Block::Text));
}

/// Lines of a run file.
fn run_file(best: &Prospect) -> String {
    let inner = match best.setting.pace {
        Pace::Steps => format!("steps = {}\nround_ms = 0", best.setting.amount),
        Pace::Time => format!("round_ms = {}", best.setting.amount),
    };
    let codec = best.setting.codec;
    let exchange = match codec.up == codec.down {
        true => format!("codec = \"{codec}\""),
        false => format!("up = \"{}\"\ndown = \"{}\"", codec.up, codec.down),
    };
    format!("[inner]\n{inner}\n[exchange]\n{exchange}")
}

fn steps_in_words(best: &Prospect) -> String {
    let [least, median, most] = best.steps;
    match best.setting.pace {
        Pace::Steps => format!("{most} for every host"),
        Pace::Time if least == most => format!("{most} for every host"),
        Pace::Time => {
            format!("{least} to {most}, by the host's speed; {median} for the middle one")
        }
    }
}

/// Why the wanted utilisation is not reached, and what would help.
fn shortfall(plan: &Plan) -> Option<String> {
    let best = plan.best();
    if best.reaches {
        return None;
    }
    let got = percent(best.round.utilisation);
    let wanted = percent(plan.utilisation);
    let limit = plan.steps_max;
    Some(match best.steps_wanted {
        Some(steps) => format!(
            "{wanted} in training is not reached with at most {limit} local steps: {got} is. It would take {steps} steps, or a batch \
             of about {} sequences instead of {} with {limit} steps (`--batch`, if memory allows), or the wider uplinks below. \
             `--steps-max` allows more steps; what that costs is told at the end.",
            (plan.batch as f64 * steps as f64 / f64::from(limit)).ceil(),
            plan.batch,
        ),
        None => format!(
            "{wanted} in training is out of reach with any number of steps: hosts of unequal speed wait for each other, so that {} \
             is the most.",
            percent(best.utilisation_most)
        ),
    })
}

// ---- every strategy and codec --------------------------------------------------------------------------------------

fn alternatives(plan: &Plan, blocks: &mut Vec<Block>) {
    let head = [
        "training",
        "codec",
        "local steps",
        "round",
        "exchange",
        "at least",
        "in training",
        "sent a round",
        "tokens/s",
        "days",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    rows.extend(plan.prospects.iter().map(|prospect| alternative(plan, prospect)));
    let target = percent(plan.utilisation);
    blocks.extend([
        Block::Heading("Every strategy and codec"),
        Block::Table(rows),
        Block::Text(format!(
            "Each with the fewest local steps with which hosts train {target} of the time, or with {} if that is not enough (marked \
             *). \"At least\": the shortest exchange that these links allow. Sent: by the middle host.",
            plan.steps_max
        )),
    ]);
    let uneven = plan
        .prospects
        .iter()
        .filter(|p| p.setting.pace == Pace::Steps && p.utilisation_most < plan.utilisation);
    if let Some(most) = uneven.map(|p| p.utilisation_most).max_by(f64::total_cmp) {
        blocks.push(Block::Text(format!(
            "With the same steps for all, hosts of unequal speed wait for each other: never more than {} in training, however many \
             steps.",
            percent(most)
        )));
    }
}

fn alternative(plan: &Plan, prospect: &Prospect) -> Vec<String> {
    let [least, _, most] = prospect.steps;
    let steps = if least == most { most.to_string() } else { format!("{least}-{most}") };
    let pace = match prospect.setting.pace {
        Pace::Steps => "same steps".to_owned(),
        Pace::Time => format!("same time, {}", duration(prospect.setting.amount as f64 / 1e3)),
    };
    let mark = if prospect.reaches { "" } else { "*" };
    let round = &prospect.round;
    vec![
        pace,
        prospect.setting.codec.to_string(),
        format!("{steps}{mark}"),
        duration(round.round_s),
        duration(round.exchange_s),
        duration(prospect.exchange_bound_s),
        percent(round.utilisation),
        bytes(prospect.sent()[1]),
        count(round.tokens_per_s),
        format!("{:.1}", plan.days(round)),
    ]
}

// ---- what limits it ------------------------------------------------------------------------------------------------

fn limits(plan: &Plan, blocks: &mut Vec<Block>) {
    blocks.push(Block::Heading("What limits it"));
    blocks.push(Block::Text(exchange_limit(plan)));
    blocks.push(Block::Text(waiting(plan)));
    if plan.what_ifs.is_empty() {
        return;
    }
    let mut rows = vec![
        ["simulated with the same setting", "round", "tokens/s", "in training", ""]
            .map(str::to_owned)
            .to_vec(),
    ];
    rows.extend(plan.what_ifs.iter().map(what_if));
    blocks.push(Block::Table(rows));
}

fn what_if(what_if: &WhatIf) -> Vec<String> {
    let change = |x: f64| format!("{:+.1} %", 100.0 * x);
    vec![
        what_if.what.clone(),
        change(what_if.round),
        change(what_if.tokens),
        percent(what_if.utilisation),
        what_if.verdict().to_owned(),
    ]
}

fn exchange_limit(plan: &Plan) -> String {
    let round = &plan.best().round;
    let busy = |i: usize| percent(plan.uplink_busy(i));
    let name = |i: usize| &plan.hosts[i].name;
    match (plan.limit.exchange, plan.limit.host) {
        (Link::OneUplink, Some(i)) => format!(
            "The exchange: the uplink of {} ({} Mbit/s up), busy {} of it. It owns {} of the model; to send its own contribution \
             alone takes it {}, and nobody is done sooner. Without it the links of the others would allow {}.",
            name(i),
            mbit(plan.hosts[i].up_bytes_per_s),
            busy(i),
            percent(round.hosts[i].owned),
            duration(plan.contribution_bytes / plan.hosts[i].up_bytes_per_s),
            duration(plan.limit.without_bound_s.unwrap_or(0.0)),
        ),
        (Link::OneDownlink, Some(i)) => format!(
            "The exchange: the downlink of {} ({} Mbit/s down), which has to receive all results whatever it owns.",
            name(i),
            mbit(plan.hosts[i].down_bytes_per_s),
        ),
        (Link::AllUplinks, host) => {
            let busiest = busiest(plan);
            let helps = host.map_or_else(
                || "No single one stands out.".to_owned(),
                |i| {
                    format!(
                        "A wider one helps most at {} ({} Mbit/s up).",
                        name(i),
                        mbit(plan.hosts[i].up_bytes_per_s)
                    )
                },
            );
            format!(
                "The exchange: all uplinks together. The protocol gives each host as much of the model to add up as its link \
                 carries, so that all are busy until the end; the busiest is that of {} ({}). {helps}",
                name(busiest),
                busy(busiest),
            )
        }
        (Link::Latency, _) => {
            "The exchange: latency and control frames. The links' rates would allow less than half of its time.".to_owned()
        }
        (Link::AllDownlinks, _) => "The exchange: all downlinks together.".to_owned(),
        _ => "There is no exchange: one host alone.".to_owned(),
    }
}

fn busiest(plan: &Plan) -> usize {
    let order =
        |a: &usize, b: &usize| plan.uplink_busy(*a).total_cmp(&plan.uplink_busy(*b)).then(b.cmp(a));
    (0..plan.hosts.len()).max_by(order).unwrap_or(0)
}

fn waiting(plan: &Plan) -> String {
    let round = &plan.best().round;
    let last = round.last_ready();
    let (name, trains) = (&plan.hosts[last].name, duration(round.hosts[last].trains_s));
    let waits = percent(round.waiting());
    match plan.limit.straggler {
        Some(_) if round.members < plan.hosts.len() => format!(
            "The others: a round goes on without those that are late, as few as {} of {} hosts in one; {name} is the slowest and \
             trains {trains}. Its work counts in a later round.",
            round.members,
            plan.hosts.len(),
        ),
        Some(_) => format!(
            "The others: hosts wait {waits} of the time for the last to be ready, which is {name} after {trains} of training."
        ),
        None => format!(
            "Waiting for each other takes {waits}: no straggler. {name} trains longest, {trains}."
        ),
    }
}

// ---- hosts, memory, basis --------------------------------------------------------------------------------------------

fn hosts(plan: &Plan, blocks: &mut Vec<Block>) {
    let head = [
        "host",
        "Mbit/s up",
        "down",
        "tokens/s",
        "trains",
        "adds up",
        "sent",
        "received",
        "uplink busy",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    rows.extend((0..plan.hosts.len().min(HOSTS_MAX)).map(|i| host(plan, i)));
    blocks.push(Block::Heading("Hosts, in a round as recommended"));
    blocks.push(Block::Table(rows));
    if plan.hosts.len() > HOSTS_MAX {
        let more = plan.hosts.len() - HOSTS_MAX;
        blocks.push(Block::Text(format!("And {more} more, which --json lists.")));
    }
    blocks.push(Block::Text(
        "Adds up: the share of the model that the host owns. Uplink busy: of the time of the exchange.".into(),
    ));
}

fn host(plan: &Plan, i: usize) -> Vec<String> {
    let (host, seen) = (&plan.hosts[i], &plan.best().round.hosts[i]);
    vec![
        if host.owns { host.name.clone() } else { format!("{} (NAT)", host.name) },
        mbit(host.up_bytes_per_s),
        mbit(host.down_bytes_per_s),
        format!("{:.0}", host.tokens_per_s),
        duration(seen.trains_s),
        percent(seen.owned),
        bytes(seen.sent),
        bytes(seen.received),
        percent(plan.uplink_busy(i)),
    ]
}

fn memory(plan: &Plan, blocks: &mut Vec<Block>) {
    let memory = &plan.memory;
    blocks.push(Block::Heading("What a node needs"));
    blocks.push(Block::Text(format!(
        "On the training device {}, and activations on top: f32 parameters with a bf16 copy, gradient, two moments of AdamW.",
        bytes(memory.device)
    )));
    blocks.push(Block::Text(format!(
        "In the host's own memory {} while it trains and up to {} when an exchange is committed: pseudo-gradient and both \
         residuals, a copy of AdamW's moments, the committed state and the one before, the results of the last four rounds.",
        bytes(memory.resting),
        bytes(memory.most)
    )));
    blocks.push(Block::Text(match memory.can_join {
        true => format!("A host that joins late fetches {} from those that are there.", bytes(memory.state)),
        false => format!(
            "A host that joins late CANNOT get in step: the state of {} has more chunks than a manifest may name. Start with all hosts.",
            bytes(memory.state)
        ),
    }));
}

fn basis(plan: &Plan, blocks: &mut Vec<Block>) {
    blocks.push(Block::Heading("What this rests on"));
    let (coarse, exact) = plan.chunk_elems;
    let off = |a: f64, b: f64| format!("{:.1} %", 100.0 * (a / b - 1.0).abs());
    let best = &plan.best().round;
    let mut notes = vec![format!(
        "Every figure is simulated with the protocol's own code, one exchange for each setting (several where hosts are late), in \
         chunks of {coarse} numbers. The recommended setting was simulated once more in the run's own chunks of \
         {exact}: {} a round, {} from the figure above; {} in training.",
        duration(plan.check.round_s),
        off(plan.check.round_s, best.round_s),
        percent(plan.check.utilisation),
    )];
    notes.push(
        "Local steps: DiLoCo (arXiv 2311.08105) uses 500 and finds the model a little worse with more; INTELLECT-1 (arXiv \
         2412.01152) uses 100, the scaling laws of DiLoCo (arXiv 2503.09799) 30. So 30 to 500 are tested; fewer cost time only."
            .into(),
    );
    if plan.speed_factor != 1.0 {
        notes.push(format!(
            "Speeds are the scenario's times {:.4}: a step's arithmetic grows with the parameters. Measure with `shoal bench train` if \
             it matters.",
            plan.speed_factor
        ));
    }
    if !plan.left_out.is_empty() {
        notes.push(format!("Of the scenario is left out: {}.", plan.left_out.join(", ")));
    }
    notes.push(
        "Not in it: time to encode, add up and decode; other traffic on the links; hosts that come and go; what the codec does to \
         the model. The protocol does not train while it exchanges."
            .into(),
    );
    blocks.extend(notes.into_iter().map(Block::Text));
}

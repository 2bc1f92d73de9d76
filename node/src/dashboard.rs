//! A node's status over HTTP: JSON for programs, Prometheus' text for monitoring, one word for health checks.

use crate::status::{NodeStatus, SharedStatus};
use actix_web::dev::Server;
use actix_web::web::{Data, get};
use actix_web::{App, HttpResponse, HttpServer};
use std::fmt::Write;
use std::net::SocketAddr;
use std::time::Duration;

/// A status that was not touched for so long is of a node that is stuck. A guess: its keeper touches it every second or so.
pub const STALE: Duration = Duration::from_secs(30);

/// Prometheus' content type for its text form.
const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
const INDEX: &str = "A Shoal node.\n\n/api/status  what it does, JSON\n/metrics     the same for Prometheus\n/healthz     200 while it lives\n";

/// Serves `status` at `address` (port 0 takes a free one, which is returned). Nothing is served until the server is awaited.
///
/// # Errors
/// The address is taken or not this machine's.
pub fn serve(status: SharedStatus, address: SocketAddr) -> std::io::Result<(Server, SocketAddr)> {
    let status = Data::new(status);
    let app = move || {
        App::new()
            .app_data(status.clone())
            .route("/", get().to(index))
            .route("/api/status", get().to(api_status))
            .route("/metrics", get().to(metrics))
            .route("/healthz", get().to(health))
    };
    let server =
        HttpServer::new(app).workers(1).disable_signals().shutdown_timeout(1).bind(address)?;
    // A bound server has an address; the asked-for one is never wrong but for port 0.
    let bound = server.addrs().first().copied().unwrap_or(address);
    Ok((server.run(), bound))
}

async fn index() -> HttpResponse {
    HttpResponse::Ok().content_type("text/plain; charset=utf-8").body(INDEX)
}

async fn api_status(status: Data<SharedStatus>) -> HttpResponse {
    HttpResponse::Ok().json(status.get())
}

async fn metrics(status: Data<SharedStatus>) -> HttpResponse {
    HttpResponse::Ok().content_type(METRICS_TYPE).body(exposition(&status.get(), status.age()))
}

async fn health(status: Data<SharedStatus>) -> HttpResponse {
    let age = status.age();
    if age < STALE {
        return HttpResponse::Ok().body("ok\n");
    }
    HttpResponse::ServiceUnavailable()
        .body(format!("stuck: no sign of life for {} s\n", age.as_secs()))
}

/// One number of the status.
struct Metric {
    name: &'static str,
    kind: &'static str,
    help: &'static str,
    read: fn(&NodeStatus) -> Option<f64>,
}

const fn gauge(
    name: &'static str,
    help: &'static str,
    read: fn(&NodeStatus) -> Option<f64>,
) -> Metric {
    Metric { name, kind: "gauge", help, read }
}

const fn counter(
    name: &'static str,
    help: &'static str,
    read: fn(&NodeStatus) -> Option<f64>,
) -> Metric {
    Metric { name, kind: "counter", help, read }
}

const METRICS: [Metric; 22] = [
    gauge("shoal_round", "Last committed round.", |s| Some(s.round as f64)),
    gauge("shoal_rounds_planned", "The run's last round.", |s| Some(s.rounds_total as f64)),
    gauge("shoal_members_alive", "Other nodes that are alive.", |s| Some(alive(s) as f64)),
    gauge("shoal_members_known", "Other nodes that are known.", |s| Some(s.members.len() as f64)),
    counter("shoal_trained_tokens_total", "Tokens trained on by this node.", |s| {
        Some(s.tokens as f64)
    }),
    gauge("shoal_committed_tokens", "Tokens of all committed rounds.", |s| {
        Some(s.tokens_committed as f64)
    }),
    gauge("shoal_tokens_per_second", "Training speed of this node.", |s| Some(s.tokens_per_s)),
    counter("shoal_sent_bytes_total", "Bytes handed to the network.", |s| {
        Some(s.bytes_sent as f64)
    }),
    counter(
        "shoal_lessons_given_total",
        "Answers given to others of what the teacher says.",
        |s| Some(s.lessons_given as f64),
    ),
    counter("shoal_lessons_taken_total", "Answers taken of what the teacher says.", |s| {
        Some(s.lessons_taken as f64)
    }),
    counter("shoal_received_bytes_total", "Bytes taken from the network.", |s| {
        Some(s.bytes_received as f64)
    }),
    gauge("shoal_uplink_bytes_per_second", "Measured rate of bulk to others.", |s| {
        s.up_bytes_per_s
    }),
    gauge("shoal_downlink_bytes_per_second", "Measured rate of bulk from others.", |s| {
        s.down_bytes_per_s
    }),
    gauge("shoal_train_loss_nats", "Mean loss of the last local work, per token.", |s| {
        s.train_loss
    }),
    gauge("shoal_validation_loss_nats", "Held-out loss of committed parameters, per token.", |s| {
        s.val_loss
    }),
    gauge(
        "shoal_loss_gap_nats",
        "Held-out loss less training loss: large when it overfits.",
        |s| Some(s.val_loss? - s.train_loss?),
    ),
    gauge("shoal_exchange_seconds", "Duration of the last exchange.", |s| {
        s.rounds.back().and_then(|r| r.exchange_s)
    }),
    gauge("shoal_group_members", "Members of the last exchange, this node among them.", |s| {
        s.rounds.back().map(|r| r.members as f64)
    }),
    gauge(
        "shoal_consensus_distance",
        "How far the last group of a run by gossip was apart, over the norm of its mean.",
        |s| s.consensus_distance,
    ),
    gauge("shoal_devices", "Devices in use.", |s| Some(s.devices.len() as f64)),
    gauge("shoal_uptime_seconds", "Time since the start.", |s| Some(s.uptime_s)),
    gauge("shoal_peak_memory_bytes", "Peak resident memory.", |s| Some(s.peak_memory_bytes as f64)),
];

/// Other nodes that count as alive.
fn alive(status: &NodeStatus) -> usize {
    status.members.iter().filter(|member| member.alive).count()
}

/// The status in Prometheus' text form.
fn exposition(status: &NodeStatus, age: Duration) -> String {
    let labels = format!("peer=\"{}\",run=\"{}\"", escape(&status.peer), escape(&status.run_id));
    let mut text = String::new();
    for metric in &METRICS {
        if let Some(value) = (metric.read)(status) {
            push(&mut text, metric.name, metric.kind, metric.help, &labels, value);
        }
    }
    push(
        &mut text,
        "shoal_status_age_seconds",
        "gauge",
        "Time since the last sign of life.",
        &labels,
        age.as_secs_f64(),
    );
    let info = format!(
        "{labels},name=\"{}\",phase=\"{}\"",
        escape(&status.run_name),
        escape(&status.phase)
    );
    push(
        &mut text,
        "shoal_node_info",
        "gauge",
        "Always 1; what the node does is in the labels.",
        &info,
        1.0,
    );
    text
}

fn push(text: &mut String, name: &str, kind: &str, help: &str, labels: &str, value: f64) {
    // Writing to a String cannot fail.
    let _ =
        writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name}{{{labels}}} {value}");
}

/// A label's value as the text form has it.
fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::{get, node_status};
    use crate::status::MemberStatus;

    const PATIENCE: Duration = Duration::from_secs(10);

    fn status() -> NodeStatus {
        NodeStatus {
            run_id: "ab".into(),
            run_name: "sma\"ll".into(),
            peer: "cd".into(),
            round: 7,
            bytes_sent: 12_345_678_901,
            train_loss: Some(2.5),
            members: vec![
                MemberStatus { alive: true, ..MemberStatus::default() },
                MemberStatus::default(),
            ],
            ..NodeStatus::default()
        }
    }

    #[test]
    fn serves_what_it_says_it_does() {
        let shared = SharedStatus::default();
        shared.update(|kept| *kept = status());
        let served = shared.clone();
        let (send, receive) = std::sync::mpsc::channel();
        let server = std::thread::spawn(move || {
            actix_web::rt::System::new().block_on(async move {
                let (server, address) = serve(served, "127.0.0.1:0".parse().unwrap()).unwrap();
                send.send((server.handle(), address)).unwrap();
                server.await.unwrap();
            });
        });
        let (handle, address) = receive.recv().unwrap();
        assert_eq!(node_status(address, PATIENCE).unwrap(), status());
        let body = |path| String::from_utf8(get(address, path, PATIENCE).unwrap().body).unwrap();
        assert_eq!(body("/healthz"), "ok\n");
        assert!(body("/metrics").contains("shoal_round{peer=\"cd\",run=\"ab\"} 7\n"));
        assert!(
            ["/api/status", "/metrics", "/healthz"].iter().all(|path| body("/").contains(path))
        );
        assert_eq!(get(address, "/nothing", PATIENCE).unwrap().code, 404);
        shared.update(|status| status.round = 8);
        assert_eq!(node_status(address, PATIENCE).unwrap().round, 8);
        drop(handle.stop(true));
        server.join().unwrap();
    }

    #[test]
    fn the_text_form_is_what_prometheus_reads() {
        let text = exposition(&status(), Duration::from_millis(1500));
        for line in text.lines() {
            let name = line.trim_start_matches("# HELP ").trim_start_matches("# TYPE ");
            assert!(name.starts_with("shoal_"), "{line}");
        }
        for expected in [
            "# TYPE shoal_sent_bytes_total counter\nshoal_sent_bytes_total{peer=\"cd\",run=\"ab\"} 12345678901\n",
            "shoal_train_loss_nats{peer=\"cd\",run=\"ab\"} 2.5\n",
            "shoal_members_alive{peer=\"cd\",run=\"ab\"} 1\n",
            "shoal_status_age_seconds{peer=\"cd\",run=\"ab\"} 1.5\n",
            "name=\"sma\\\"ll\",phase=\"\"} 1\n",
        ] {
            assert!(text.contains(expected), "{expected} in {text}");
        }
        assert!(
            !text.contains("validation") && !text.contains("gap"),
            "what is not known is not told"
        );
        let both = exposition(&NodeStatus { val_loss: Some(3.0), ..status() }, Duration::ZERO);
        assert!(both.contains("shoal_loss_gap_nats{peer=\"cd\",run=\"ab\"} 0.5\n"), "{both}");
    }
}

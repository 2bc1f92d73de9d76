//! Asks every node of this machine how it stands. Run: `cargo run -p shoal-examples --bin watch` while nodes are up.

use shoal_node::net::local;
use shoal_node::probe;
use std::time::Duration;

fn main() -> anyhow::Result<()> {
    for node in local::list(&local::default_dir())? {
        let Some(api) = node.api else { continue };
        match probe::node_status(api, Duration::from_secs(1)) {
            Ok(status) => {
                println!("{} round {}: {}", node.peer.short(), status.round, status.waiting)
            }
            Err(error) => println!("{} does not answer: {error}", node.peer.short()),
        }
    }
    Ok(())
}

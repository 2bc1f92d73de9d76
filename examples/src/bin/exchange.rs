//! What happens to one chunk of a pseudo-gradient: three peers encode, one adds up, all decode the same bytes, and what
//! encoding lost stays in each peer's residual. Run: `cargo run -p shoal-examples --bin exchange`.

use shoal_protocol::math::{Codec, Outcome, Part, Source, Workspace};

const ELEMS: usize = 1024;
const TOKENS: [u64; 3] = [100, 100, 200];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let codec = Codec::Int8;
    let mut peers: Vec<Workspace> = (0..3).map(peer).collect();
    let total: u64 = TOKENS.iter().sum();

    // Peers 1 and 2 send to peer 0, the owner of this chunk; fold is the total weight over one's own.
    let fold = |peer: usize| total as f32 / TOKENS[peer] as f32;
    let sent: Vec<Vec<u8>> = (1..3).map(|peer| peers[peer].encode(codec, 0, fold(peer))).collect();
    let part = |member: usize| Part {
        member,
        weight: TOKENS[member],
        bytes: if member == 0 { Source::Own } else { Source::Encoded(&sent[member - 1]) },
    };
    let reduced =
        peers[0].reduce(codec, codec, 0, &[part(0), part(1), part(2)]).map_err(|e| e.cause)?;

    // Everybody decodes the owner's bytes, the owner too: that is why all end on the same parameters.
    let mut mean = vec![0.0; ELEMS];
    codec.decode(&reduced.bytes, &mut mean)?;
    let outcome = Outcome::Owned {
        target: &reduced.target,
        codec: codec.into(),
        result: &reduced.bytes,
        own: Some(codec.into()),
    };
    peers[0].settle(0, outcome)?;
    for member in 1..3 {
        let share = TOKENS[member] as f32 / total as f32;
        peers[member].settle(
            0,
            Outcome::Counted {
                codec: codec.into(),
                fold: fold(member),
                share,
                bytes: &sent[member - 1],
            },
        )?;
    }

    println!("sent by each: {} bytes for {} numbers", sent[0].len(), ELEMS);
    println!("mean of number 7: {} (exactly {})", mean[7], reduced.target[7]);
    for (name, workspace) in peers.iter().enumerate() {
        let largest =
            |values: &[f32]| values.iter().fold(0f32, |most, value| most.max(value.abs()));
        let (up, down) = (largest(workspace.residual_up()), largest(workspace.residual_down()));
        println!("peer {name} keeps for the next round: up to {up:.5} upward, {down:.5} downward");
    }
    Ok(())
}

/// A peer whose pseudo-gradient is a wave of its own.
fn peer(number: usize) -> Workspace {
    let mut workspace = Workspace::new(ELEMS, ELEMS);
    let wave = |place: usize| (place as f32 / 40.0 + number as f32).sin();
    workspace.set_delta(&(0..ELEMS).map(wave).collect::<Vec<f32>>());
    workspace
}

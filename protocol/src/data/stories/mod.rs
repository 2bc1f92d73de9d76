//! Simple English stories from a grammar, the same bytes on every machine for a seed: a text to learn from without a download.
//!
//! In the manner of TinyStories (Eldan and Li 2023): a hero, a friend, a place and a thing are chosen once a story and stay
//! the same in it, so a model must carry names, pronouns and objects along; the plot's beats follow from one another.

mod cast;
mod plots;

use super::rng::{Rng, mix};
use cast::Cast;

/// `bytes` bytes of stories, plain ASCII, one paragraph each with an empty line between; the last story is cut off.
pub fn stories(seed: u64, bytes: u64) -> Vec<u8> {
    let mut text = Vec::with_capacity(bytes as usize + 2048);
    for index in 0.. {
        if text.len() as u64 >= bytes {
            break;
        }
        text.extend_from_slice(story(seed, index).as_bytes());
        text.extend_from_slice(b"\n\n");
    }
    text.truncate(bytes as usize);
    text
}

/// Story number `index` of a seed, without a line end.
pub fn story(seed: u64, index: u64) -> String {
    let mut rng = Rng::new(mix(seed) ^ mix(!index));
    let cast = Cast::draw(&mut rng);
    let plot = plots::PLOTS[rng.below(plots::PLOTS.len() as u64) as usize];
    let mut beats = vec![plots::OPENINGS, plots::TRAITS];
    beats.extend(plot);
    beats.push(plots::ENDINGS);
    let sentences: Vec<String> = beats
        .into_iter()
        .map(|beat| say(beat, &cast, Rng::new(rng.next())))
        .filter(|sentence| !sentence.is_empty())
        .collect();
    sentences.join(" ")
}

/// One of a beat's sentences. The generator is the beat's own, so that other words in one beat leave the others as they were.
fn say(beat: &[&str], cast: &Cast, mut rng: Rng) -> String {
    fill(rng.pick(beat), cast, &mut rng)
}

/// Replaces each `{name}` of a template.
fn fill(template: &str, cast: &Cast, rng: &mut Rng) -> String {
    let mut out = String::with_capacity(template.len() * 2);
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        // Templates are ours and a test fills every one of them: each brace is closed.
        let (name, tail) = after.split_once('}').unwrap_or((after, ""));
        out.push_str(before);
        out.push_str(&cast.word(name, rng));
        rest = tail;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_template_can_be_filled() {
        let mut rng = Rng::new(5);
        let beats = plots::PLOTS.iter().copied().flatten().copied();
        for beat in beats.chain([plots::OPENINGS, plots::TRAITS, plots::ENDINGS]) {
            for template in beat {
                let cast = Cast::draw(&mut rng);
                let text = fill(template, &cast, &mut rng);
                assert!(
                    text.is_ascii() && !text.contains(['{', '}', '?', '#']) || text.contains("?\""),
                    "{text}"
                );
                assert!(template.is_empty() || text.ends_with(['.', '!', '"']), "{text}");
                assert!(!text.contains("  "), "{text}");
            }
        }
    }

    #[test]
    fn the_bytes_are_these_on_every_machine() {
        let text = stories(1, 100_000);
        assert_eq!(text.len(), 100_000);
        assert_eq!(crate::id::Digest::of(&text).short(), "dfa2dfdb");
        assert_eq!(stories(1, 1000), text[..1000]);
        assert_ne!(stories(2, 1000), text[..1000]);
    }

    #[test]
    fn stories_differ() {
        let mut all: Vec<String> = (0..500).map(|index| story(3, index)).collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 500);
    }
}

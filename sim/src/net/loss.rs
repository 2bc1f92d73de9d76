//! Losses that come in bursts: the two-state chain of Gilbert (1960) and Elliott (1963).

use crate::rng::Rng;

/// How a link loses frames.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Loss {
    /// Share of frames lost while the link is good.
    pub good_loss: f64,
    /// Share of frames lost while it is bad.
    pub bad_loss: f64,
    /// Chance, at each frame, to turn bad.
    pub p_good_to_bad: f64,
    /// Chance, at each frame, to turn good again; the mean burst is its inverse.
    pub p_bad_to_good: f64,
}

impl Loss {
    /// Whether the next frame is lost; `bad` is the link's state.
    pub fn strikes(&self, bad: &mut bool, rng: &mut Rng) -> bool {
        if self.good_loss == 0.0 && self.p_good_to_bad == 0.0 {
            return false;
        }
        let turns = if *bad { self.p_bad_to_good } else { self.p_good_to_bad };
        *bad ^= rng.chance(turns);
        rng.chance(if *bad { self.bad_loss } else { self.good_loss })
    }

    #[cfg(test)]
    /// The share lost in the long run, by the chain's stationary distribution.
    pub fn mean(&self) -> f64 {
        let turns = self.p_good_to_bad + self.p_bad_to_good;
        let bad = if turns > 0.0 { self.p_good_to_bad / turns } else { 0.0 };
        bad * self.bad_loss + (1.0 - bad) * self.good_loss
    }
}

#[test]
fn the_share_lost_is_the_stationary_one_and_bursts_are_as_long_as_they_should_be() {
    let loss = Loss { good_loss: 0.001, bad_loss: 1.0, p_good_to_bad: 0.01, p_bad_to_good: 0.25 };
    let (mut rng, mut bad, mut lost, mut bursts) = (Rng::new(1), false, 0u32, 0u32);
    let frames = 1_000_000;
    for _ in 0..frames {
        let before = bad;
        lost += u32::from(loss.strikes(&mut bad, &mut rng));
        bursts += u32::from(bad && !before);
    }
    let share = f64::from(lost) / f64::from(frames);
    assert!((share / loss.mean() - 1.0).abs() < 0.02, "{share} is not {}", loss.mean());
    let burst = f64::from(lost) / f64::from(bursts);
    assert!((3.8..4.3).contains(&burst), "a burst has {burst} frames, not about 4");
}

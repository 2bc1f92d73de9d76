//! Bugs to be planted, each of which breaks a promise: the simulator shows that it finds them. Without the feature `sabotage`,
//! which only its tests switch on, there is nothing here but constants.

/// A bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// An owner adds one contribution twice.
    CountedTwice,
    /// An owner adds contributions in another order than the members'.
    OutOfOrder,
    /// A result claims to hold everybody's contribution.
    MaskOfAll,
    /// A contribution that comes while its chunk is being added up is said to be in the sum.
    LateInMask,
    /// Half of the weight is enough for a commit.
    HalfIsEnough,
    /// A member commits what it holds, whoever else holds it.
    Unconfirmed,
    /// A plan of any round and base is carried out.
    StalePlan,
    /// A chunk is taken whatever its digest.
    UnverifiedChunk,
    /// A piece of a file is taken whatever its digest.
    UnverifiedPiece,
    /// A lease is trained on though its data are not here.
    TrainsBlind,
    /// Deadlines never come.
    DeadlineNever,
    /// New samples are leased again in the next round.
    LeasedTwice,
    /// What a lost peer did not finish is finished by nobody.
    LostForgotten,
    /// The downward residual stays after it was given.
    FoldKept,
    /// What a contribution did not carry is dropped.
    RestDropped,
    /// Work that a round missed is dropped.
    MissedDropped,
    /// Work that a round counted is kept for the next.
    CountedKept,
    /// A peer that has work in hand trains on its lease again.
    TrainsAgain,
    /// Results of old rounds are never let go.
    Hoards,
    /// What a branch has learned is given up with it.
    OfferDropped,
    /// What was given to a branch that is left counts twice on the other.
    OfferTwice,
    /// A peer whose own loss still falls goes on though the committed one has not for long enough.
    OwnLoss,
    /// A record holds what its maker measured instead of what the members' words come to.
    OwnMedian,
}

impl Bug {
    /// All of them.
    pub const ALL: [Bug; 23] = [
        Bug::CountedTwice,
        Bug::OutOfOrder,
        Bug::MaskOfAll,
        Bug::LateInMask,
        Bug::HalfIsEnough,
        Bug::Unconfirmed,
        Bug::StalePlan,
        Bug::UnverifiedChunk,
        Bug::UnverifiedPiece,
        Bug::TrainsBlind,
        Bug::DeadlineNever,
        Bug::LeasedTwice,
        Bug::LostForgotten,
        Bug::FoldKept,
        Bug::RestDropped,
        Bug::MissedDropped,
        Bug::CountedKept,
        Bug::TrainsAgain,
        Bug::Hoards,
        Bug::OfferDropped,
        Bug::OfferTwice,
        Bug::OwnLoss,
        Bug::OwnMedian,
    ];
}

#[cfg(feature = "sabotage")]
thread_local! {
    static PLANTED: std::cell::Cell<Option<Bug>> = const { std::cell::Cell::new(None) };
}

/// Plants a bug in all sessions of this thread, or removes it.
#[cfg(feature = "sabotage")]
pub fn plant(bug: Option<Bug>) {
    PLANTED.set(bug);
}

#[cfg(feature = "sabotage")]
pub(crate) fn planted(bug: Bug) -> bool {
    PLANTED.get() == Some(bug)
}

#[cfg(not(feature = "sabotage"))]
pub(crate) const fn planted(_: Bug) -> bool {
    false
}

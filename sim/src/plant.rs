//! Faults that are planted on purpose, to see whether the simulation would find them. Each is a lie of one of the simulation's own
//! layers: of the door before the server, of the store, the disk, the executor or the network. The code under test knows none.

use crate::judge::Invariant;

/// A planted fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Plant {
    /// The server says that a result is stored, and does not store it.
    ResultNotStored,
    /// The server says that output is stored, and does not store it.
    OutputNotStored,
    /// The server says that an acceptance is stored, and does not store it.
    ReceiptNotStored,
    /// The server says that it took a beat, and did not.
    BeatNotTaken,
    /// Requests to stop never reach the device.
    CancelIgnored,
    /// A device is shown as offline as soon as its connection ends.
    OfflineAtDisconnect,
    /// A result that comes again is written down again.
    ResultCountedTwice,
    /// A late start takes a run back from its end.
    StartUndoesEnd,
    /// Offers do not say when they end.
    OffersWithoutEnd,
    /// The server offers a device work that nobody asked for.
    WorkOfNobody,
    /// The sweep of runs never runs.
    WorkSweepNeverRuns,
    /// The sweep of presence never runs.
    PresenceSweepNeverRuns,
    /// Leases outlive their holder for ever.
    LeaseNeverLapses,
    /// Moves of runs are stored without their rows.
    MoveWithoutRow,
    /// What a device observes is stored only half the time, though it is acknowledged.
    IngestForgotten,
    /// The device's journal is not synced.
    JournalNotSynced,
    /// The device's journal grows without bound.
    SpoolUnbounded,
    /// A restarted agent executes again what it had begun.
    RunAgainAfterRestart,
    /// The device measures time limits by a clock that is set.
    TimeoutByWallClock,
    /// The device is not told how long it should stay away.
    RetryTimeIgnored,
    /// The network loses the remark that output was lost.
    LossNotAnnounced,
    /// The device tells its executor nothing when a run is to stop.
    ExecutorNeverStops,
    /// Each connection of a device has the number of the first.
    ConnectionsNumberedAlike,
    /// The server goes on answering a connection that a newer one has replaced.
    OlderConnectionAnswered,
    /// The server takes what failed for done.
    FailureTakenForSuccess,
    /// Devices forget what they began by themselves when they are started again.
    OwnRunsForgotten,
    /// The server does not tell devices of their manifests.
    ManifestNotNamed,
    /// The server lets work go before its time, and while a window holds it.
    LetGoEarly,
    /// The server lets work go that nobody has agreed to.
    AgreedByNobody,
    /// The server hears of each dry run that it would change something.
    EverythingWouldChange,
    /// The server tries again what succeeded, together with what did not.
    SuccessTriedAgain,
    /// The server lets go of a rollout all at once.
    WavesAtOnce,
    /// The server makes the work of a plan's time a second time.
    PlanTimeTwice,
    /// The server settles times of plans that are paused.
    PausedPlanGoesOn,
    /// The server never looks whether a plan's time has come.
    PlansNeverLooked,
    /// Secrets are masked in offers, too.
    SecretMasked,
    /// The server writes secrets down as it hands them out.
    SecretWrittenDown,
    /// The server removes secrets that work still needs.
    SecretsGoEarly,
    /// The server never removes secrets.
    SecretsStay,
    /// Somebody has devices apply all that they keep, whatever the windows say.
    WindowsUnheeded,
    /// A server that is started again lets nobody in.
    ShutAfterRestart,
    /// The server panics at a result that it has not seen before.
    PanicAtResult,
}

impl Plant {
    /// All of them, and the invariants one of which must find it.
    pub const ALL: &[(Self, &[Invariant])] = &[
        (Self::ResultNotStored, &[Invariant::AcknowledgedIsStored]),
        (Self::OutputNotStored, &[Invariant::AcknowledgedIsStored]),
        (Self::ReceiptNotStored, &[Invariant::AcknowledgedIsStored]),
        (Self::BeatNotTaken, &[Invariant::NoFalseOffline]),
        (Self::CancelIgnored, &[Invariant::CancelledInTime]),
        (Self::OfflineAtDisconnect, &[Invariant::NoFalseOffline]),
        (Self::ResultCountedTwice, &[Invariant::StatesMoveForward]),
        (Self::StartUndoesEnd, &[Invariant::StatesMoveForward]),
        (Self::OffersWithoutEnd, &[Invariant::NoExpiredWork]),
        (Self::WorkOfNobody, &[Invariant::OnlyGenuineWork]),
        (Self::WorkSweepNeverRuns, &[Invariant::EveryRunEnds]),
        (Self::PresenceSweepNeverRuns, &[Invariant::OfflineInTime]),
        (
            Self::LeaseNeverLapses,
            &[Invariant::EveryRunEnds, Invariant::OfflineInTime],
        ),
        (Self::MoveWithoutRow, &[Invariant::EveryChangeHasItsRow]),
        (
            Self::IngestForgotten,
            &[Invariant::AcknowledgedIsStored, Invariant::NoFalseOffline],
        ),
        (
            Self::JournalNotSynced,
            &[Invariant::AtMostOnce, Invariant::NoResultLost],
        ),
        (Self::SpoolUnbounded, &[Invariant::SpoolBounded]),
        (Self::RunAgainAfterRestart, &[Invariant::AtMostOnce]),
        (Self::TimeoutByWallClock, &[Invariant::TimeoutsAreNotEarly]),
        (Self::RetryTimeIgnored, &[Invariant::RetryTimeKept]),
        (Self::LossNotAnnounced, &[Invariant::OutputWholeOrAnnounced]),
        (Self::ExecutorNeverStops, &[Invariant::CancelledInTime]),
        (Self::ConnectionsNumberedAlike, &[Invariant::NewerConnectionWins]),
        (Self::OlderConnectionAnswered, &[Invariant::NewerConnectionWins]),
        (Self::FailureTakenForSuccess, &[Invariant::NoResultLost]),
        (Self::OwnRunsForgotten, &[Invariant::NoResultLost]),
        (Self::ManifestNotNamed, &[Invariant::ManifestsArrive]),
        (Self::LetGoEarly, &[Invariant::NothingBeforeItsTurn]),
        (Self::AgreedByNobody, &[Invariant::NothingBeforeItsTurn]),
        (Self::EverythingWouldChange, &[Invariant::OnlyWhatWasLookedAt]),
        (Self::SuccessTriedAgain, &[Invariant::OnlyFailuresAgain]),
        (Self::WavesAtOnce, &[Invariant::NothingBeforeItsTurn]),
        (Self::PlanTimeTwice, &[Invariant::PlansKeepTime]),
        (Self::PausedPlanGoesOn, &[Invariant::PlansKeepTime]),
        (Self::PlansNeverLooked, &[Invariant::PlansKeepTime]),
        (Self::SecretMasked, &[Invariant::SecretsKept]),
        (Self::SecretWrittenDown, &[Invariant::SecretsKept]),
        (Self::SecretsGoEarly, &[Invariant::SecretsKept]),
        (Self::SecretsStay, &[Invariant::SecretsKept]),
        (Self::WindowsUnheeded, &[Invariant::WindowsHoldDevices]),
        (Self::ShutAfterRestart, &[Invariant::EverybodyComesBack]),
        (Self::PanicAtResult, &[Invariant::NobodyPanics]),
    ];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_invariant_finds_a_fault_that_no_other_finds() {
        for invariant in Invariant::ALL {
            let alone = |(_, by): &&(Plant, &[Invariant])| *by == [invariant];
            assert!(Plant::ALL.iter().any(|plant| alone(&plant)), "{invariant:?}");
        }
    }
}

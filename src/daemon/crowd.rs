//! How many clients there are, in all and of each address, and who is one too many. Knows numbers; nothing of what
//! clients want.

use std::collections::HashMap;

use crate::daemon::patron::Origin;
use crate::daemon::refusal::Refusal;
use crate::exit_code::ExitCode;

/// Clients that are told that there is no room, at once. The others of a flood are dropped without a word; those who
/// are served lose nothing by it.
const APOLOGIES_MAX: usize = 64;

/// What a client who connects gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    /// A place.
    Welcome(Seat),
    /// A reason why it has none.
    Apology(Seat, Refusal),
    /// Nothing.
    Dropped,
}

/// A place that was given, to be given back with [`Crowd::leave`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seat {
    /// Among the served.
    Served(Origin),
    /// Of one who is about to be told that there is none.
    Standing,
}

/// Those who are here.
#[derive(Debug)]
pub struct Crowd {
    most: usize,
    most_of_one: usize,
    served: usize,
    of: HashMap<Origin, usize>,
    standing: usize,
}

impl Crowd {
    /// Nobody yet. `most` may be served (`--connections`), of one address `most_of_one` (`--connections-per-client`).
    pub fn new(most: usize, most_of_one: usize) -> Crowd {
        Crowd { most, most_of_one, served: 0, of: HashMap::new(), standing: 0 }
    }

    /// Descriptors it may take beyond one set for each of the served.
    pub const STANDING_MAX: usize = APOLOGIES_MAX;

    /// One more comes.
    pub fn enter(&mut self, origin: Origin) -> Admission {
        let of = self.of.get(&origin).copied().unwrap_or(0);
        let reason = if of >= self.most_of_one {
            format!(
                "your address has {of} connections to this server, and may have no more \
                 (distccd --connections-per-client)"
            )
        } else if self.served >= self.most {
            format!("this server serves {} clients already, and no more (distccd --connections)", self.served)
        } else {
            self.served += 1;
            *self.of.entry(origin).or_default() += 1;
            return Admission::Welcome(Seat::Served(origin));
        };
        self.turn_away(Refusal::new(ExitCode::Busy, reason))
    }

    /// One comes who is refused whoever else is there.
    pub fn turn_away(&mut self, refusal: Refusal) -> Admission {
        if self.standing >= APOLOGIES_MAX {
            return Admission::Dropped;
        }
        self.standing += 1;
        Admission::Apology(Seat::Standing, refusal)
    }

    /// One leaves.
    pub fn leave(&mut self, seat: Seat) {
        let Seat::Served(origin) = seat else {
            self.standing -= 1;
            return;
        };
        self.served -= 1;
        let of = self.of.get_mut(&origin).expect("BUG: one leaves who never came");
        *of -= 1;
        if *of == 0 {
            self.of.remove(&origin);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(last: u8) -> Origin {
        Origin::of([10, 0, 0, last].into())
    }

    fn is_welcome(crowd: &mut Crowd, last: u8) -> bool {
        matches!(crowd.enter(origin(last)), Admission::Welcome(_))
    }

    fn reason(crowd: &mut Crowd, last: u8) -> String {
        let Admission::Apology(_, refusal) = crowd.enter(origin(last)) else { panic!("no apology") };
        assert_eq!(refusal.code, ExitCode::Busy);
        refusal.reason
    }

    #[test]
    fn an_address_does_not_take_the_places_of_others() {
        let mut crowd = Crowd::new(5, 3);
        assert!((0..3).all(|_| is_welcome(&mut crowd, 1)));
        assert!(reason(&mut crowd, 1).contains("your address has 3 connections"));
        assert!(is_welcome(&mut crowd, 2) && is_welcome(&mut crowd, 3));
        assert!(reason(&mut crowd, 2).contains("serves 5 clients already"));
        crowd.leave(Seat::Served(origin(1)));
        assert!(is_welcome(&mut crowd, 4) && !is_welcome(&mut crowd, 1));
    }

    #[test]
    fn those_who_are_told_are_bounded() {
        let mut crowd = Crowd::new(1, 1);
        assert!(is_welcome(&mut crowd, 1));
        (0..APOLOGIES_MAX).for_each(|_| drop(reason(&mut crowd, 2)));
        assert_eq!(crowd.enter(origin(2)), Admission::Dropped);
        crowd.leave(Seat::Standing);
        reason(&mut crowd, 2);
        crowd.leave(Seat::Served(origin(1)));
        assert!(is_welcome(&mut crowd, 2));
        assert_eq!(crowd.of.len(), 1);
    }
}

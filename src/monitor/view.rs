//! The picture of the running jobs: hosts with their slots, and what each job does. Pure: what is known becomes lines of
//! a width.

use std::time::Duration;

use super::screen::{Line, Look};
use super::state_file::Phase;
use super::states::State;

/// Columns of a host's name; more where there is room.
const HOST_COLUMNS: usize = 20;
/// Slots drawn one by one; a host with more is drawn by its first ones.
const SLOTS_DRAWN_MAX: usize = 512;

/// A host and its slots as the list has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// What jobs call it.
    pub name: String,
    /// How many jobs it takes from this user at once; 0 if the list does not have it.
    pub slots: u32,
    /// For how long it is left alone yet, because it failed.
    pub backed_off: Option<Duration>,
}

/// What has happened since the view was opened.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tally {
    /// Jobs that have ended.
    pub done: u64,
    /// How many of them in a second, lately.
    pub rate: f64,
    /// Of those recorded (DISTCC_TRACE): how many ended in failure, and how many ran here after all.
    pub recorded: Option<(u64, u64)>,
}

/// All that is shown.
#[derive(Clone, Debug, Default)]
pub struct Picture {
    /// The hosts of the list, in its order; then those that only jobs name.
    pub places: Vec<Place>,
    /// The jobs, by host and slot, and how long each has been in its phase.
    pub jobs: Vec<(State, Duration)>,
    /// What happened.
    pub tally: Tally,
    /// Why there is no host list.
    pub complaint: Option<String>,
}

/// The picture in at most `rows` lines of at most `columns`.
pub fn draw(picture: &Picture, (columns, rows): (usize, usize), is_coloured: bool) -> Vec<String> {
    let line = || Line::new(columns, is_coloured);
    let mut lines = vec![headline(picture, line())];
    if let Some(complaint) = &picture.complaint {
        lines.push(line().put(Look::Red, complaint).finish());
    }
    let widest = picture.places.iter().map(|place| place.name.chars().count()).max().unwrap_or(0);
    let host_columns = widest.clamp(HOST_COLUMNS.min(columns / 4), (columns / 3).max(1)) + 1;
    for place in &picture.places {
        let jobs: Vec<_> = picture.jobs.iter().filter(|(state, _)| is_at(state, place)).collect();
        lines.push(place_line(place, &jobs, host_columns, line()));
        lines.extend(jobs.iter().map(|job| job_line(job, line())));
    }
    let waiting: Vec<_> = picture.jobs.iter().filter(|(state, _)| state.host.is_empty()).collect();
    if !waiting.is_empty() {
        let text = format!("waiting for a slot: {}", waiting.len());
        lines.push(line().put(Look::Magenta, &text).finish());
    }
    if lines.len() > rows {
        let hidden = lines.len() - rows.saturating_sub(1);
        lines.truncate(rows.saturating_sub(1));
        lines.push(line().put(Look::Dim, &format!("... {hidden} more lines")).finish());
    }
    lines
}

fn is_at(state: &State, place: &Place) -> bool {
    String::from_utf8_lossy(&state.host) == place.name
}

fn headline(picture: &Picture, mut line: Line) -> String {
    let tally = &picture.tally;
    line.put(Look::Bold, &format!("{} running", picture.jobs.len()))
        .put(Look::Plain, &format!("  {} done  {:.1} jobs/s", tally.done, tally.rate));
    let resting = picture.places.iter().filter(|place| place.backed_off.is_some()).count();
    if resting > 0 {
        line.put(Look::Red, &format!("  backed off: {resting}"));
    }
    if let Some((failed, fallbacks)) = tally.recorded {
        let look = |count: u64| if count > 0 { Look::Red } else { Look::Plain };
        line.put(look(failed), &format!("  failed: {failed}"));
        line.put(look(fallbacks), &format!("  fallbacks: {fallbacks}"));
    }
    line.finish()
}

/// The host, how many of its slots are taken, and each of them as a letter.
fn place_line(place: &Place, jobs: &[&(State, Duration)], host_columns: usize, mut line: Line) -> String {
    line.put_in(Look::Bold, host_columns, &place.name);
    let taken = jobs.iter().filter(|(state, _)| state.phase != Phase::Blocked).count();
    let count = if place.slots > 0 { format!("{taken}/{}", place.slots) } else { taken.to_string() };
    line.put_in(Look::Plain, 8, &count);
    if let Some(left) = place.backed_off {
        line.put(Look::Red, &format!("failed; left alone for {} s ", left.as_secs()));
    }
    // A letter for each slot that fits.
    for slot in 0..(place.slots as usize).min(SLOTS_DRAWN_MAX).min(line.left()) {
        let job = jobs.iter().find(|(state, _)| usize::try_from(state.slot) == Ok(slot));
        match job {
            Some((state, _)) => line.put(look(state), &state.phase.name()[..1]),
            None => line.put(Look::Dim, "."),
        };
    }
    line.finish()
}

fn job_line((state, elapsed): &(State, Duration), mut line: Line) -> String {
    let seconds = format!("{:>7.1}s", elapsed.as_secs_f64());
    line.put(Look::Dim, &format!("{:>5} ", state.slot));
    line.put_in(look(state), 11, state.phase.name());
    let room = line.left().saturating_sub(seconds.len() + 1);
    line.put_in(Look::Plain, room, &String::from_utf8_lossy(&state.file));
    line.put(Look::Dim, &seconds);
    line.finish()
}

fn look(state: &State) -> Look {
    match state.phase {
        Phase::Startup | Phase::Blocked => Look::Magenta,
        Phase::Connect | Phase::Send => Look::Blue,
        Phase::Preprocess => Look::Yellow,
        Phase::Compile if state.host == b"localhost" => Look::Yellow,
        Phase::Compile => Look::Green,
        Phase::Receive | Phase::Done => Look::Cyan,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(host: &str, slot: i32, file: &str, phase: Phase) -> (State, Duration) {
        let state = State { host: host.into(), slot, process: 1, file: file.into(), phase };
        (state, Duration::from_millis(1500))
    }

    fn picture() -> Picture {
        Picture {
            places: vec![
                Place { name: "build1".into(), slots: 4, backed_off: None },
                Place { name: "build2".into(), slots: 2, backed_off: Some(Duration::from_secs(42)) },
            ],
            jobs: vec![
                state("", 0, "w.c", Phase::Blocked),
                state("build1", 0, "a.c", Phase::Compile),
                state("build1", 2, "evil\x1b]0;x\x07.c", Phase::Send),
            ],
            tally: Tally { done: 7, rate: 2.25, recorded: Some((1, 0)) },
            complaint: None,
        }
    }

    #[test]
    fn hosts_slots_phases_and_failures_are_shown() {
        let lines = draw(&picture(), (80, 24), false);
        assert_eq!(lines[0], "3 running  7 done  2.2 jobs/s  backed off: 1  failed: 1  fallbacks: 0");
        assert_eq!(lines[1], "build1               2/4     C.S.");
        assert!(lines[2].starts_with("    0 Compile    a.c") && lines[2].ends_with("   1.5s"), "{lines:?}");
        assert!(lines[3].contains("evil?]0;x?.c"), "{lines:?}");
        assert_eq!(lines[4], "build2               0/2     failed; left alone for 42 s ..");
        assert_eq!(lines[5], "waiting for a slot: 1");
        assert_eq!(lines.len(), 6);
    }

    #[test]
    fn no_line_is_wider_and_no_picture_higher_than_the_screen() {
        let mut crowded = picture();
        crowded.places[0].slots = 10_000;
        crowded.places[1].name = "x".repeat(300);
        crowded.jobs.extend((0..200).map(|slot| state("build1", slot, &"long".repeat(31), Phase::Receive)));
        for size in [(1, 1), (2, 1), (20, 3), (80, 24), (132, 50), (500, 300)] {
            let lines = draw(&crowded, size, false);
            assert!(lines.len() <= size.1, "{size:?}: {} lines", lines.len());
            assert!(lines.iter().all(|line| line.chars().count() <= size.0), "{size:?}: {lines:?}");
        }
        assert!(draw(&crowded, (80, 24), false).last().unwrap().contains("more lines"));
    }

    #[test]
    fn colours_change_nothing_but_colours() {
        let (plain, coloured) = (draw(&picture(), (80, 24), false), draw(&picture(), (80, 24), true));
        assert!(plain.iter().all(|line| !line.contains('\x1b')));
        assert!(coloured[2].contains("\x1b[32mCompile"), "{coloured:?}");
        for (plain, coloured) in plain.iter().zip(&coloured) {
            let parts = coloured.split('\x1b').enumerate();
            let text: String = parts
                .map(|(index, part)| if index == 0 { part } else { part.split_once('m').unwrap().1 })
                .collect();
            assert_eq!(&text, plain);
        }
    }
}

//! OCPP 1.6: a transaction has no name until the central system answers with a number, which the station may never learn.

use super::Entry;
use super::assembler::{Placed, StrayReason, Turn};
use super::energy::SLOP;
use super::facts::{self, Readings, Said, Start, Stop, part};
use super::state::{MAX_STAY, State, same_token};
use crate::clock::Timestamp;

/// How long a message id stands for the same start, in milliseconds: a week. Stations count them anew after a reboot.
const MESSAGE_LIFE: i64 = 7 * 86_400_000;

/// Whether it numbers a transaction: central systems that refuse a start answer with 0 or -1. The standard knows no range (1.6, 6.46), and some count
/// downwards.
fn is_number(number: i64) -> bool {
    !matches!(number, 0 | -1)
}

impl Turn<'_> {
    /// A StartTransaction. One that says the same of connector, card, register and time is a retry, whatever its message id and however long
    /// ago the first was, and all numbers that the central system gives to its tries are of the one session.
    pub(super) fn start(&mut self, entry: &Entry<'_>, said: Start) -> Placed {
        let message = format!("m:{}", part(entry.message_id));
        let meter = said.meter.map(|wh| wh.normalize().to_string()).unwrap_or_default();
        let print = format!("r:{}:{}:{meter}", said.connector, said.when.at.0);
        let whole = format!("s:{print}:{}", said.token.as_ref().map_or(String::new(), |token| part(&token.code)));
        let known = if said.when.odd {
            // Many starts are alike where the clock was never set: only one that has just begun is the same.
            self.station.sessions.iter().position(|state| {
                let known = &state.known;
                let alike = state.closed.is_none() && known.connector == said.connector && known.start.is_some_and(|start| start.odd);
                alike
                    && known.end.is_none()
                    && known.payer().map(|token| &token.code) == said.token.as_ref().map(|token| &token.code)
                    && known.meter.start.map(|sample| sample.wh) == said.meter
                    && known.meter.last() == known.meter.start
            })
        } else {
            self.find(&whole).or_else(|| {
                // The same card has another code in the next epoch.
                let at = self.find(&print)?;
                let payer = self.station.sessions[at].known.payer();
                let other_epoch = payer.zip(said.token.as_ref()).is_some_and(|(a, b)| same_token(a, b).is_none());
                other_epoch.then_some(at)
            })
        };
        if let Some(at) = known {
            self.claim(at, message);
            let state = &mut self.station.sessions[at];
            state.heard = state.heard.max(entry.at);
            return Placed::Yes;
        }
        let at = self.begin(entry);
        if !said.when.odd {
            self.claim(at, whole);
            self.claim(at, print);
        }
        self.claim(at, message);
        self.learn(entry, at, |known| known.start(said));
        self.follow(entry, at);
        Placed::Yes
    }

    /// The number in the answer to a start.
    pub(super) fn number(&mut self, entry: &Entry<'_>, number: i64) -> Placed {
        let found = self.find(&format!("m:{}", part(entry.message_id)));
        let Some(at) = found.filter(|at| self.station.sessions[*at].heard.0.saturating_add(MESSAGE_LIFE) >= entry.at.0) else {
            return Placed::NotYet;
        };
        if is_number(number) {
            self.claim(at, format!("t:{number}"));
            let state = &mut self.station.sessions[at];
            state.numbered = true;
            // What was presumed is known now, one way or the other.
            let presumed = state.known.end.as_ref().and_then(|end| end.presumed.as_ref()).map(|presumed| presumed.fact.clone());
            if let Some(held) = presumed
                && let Ok(Said::Stop(stop)) = facts::read(&held.entry())
            {
                if stop.number == number {
                    self.learn(entry, at, |known| known.stop(stop, None));
                } else if is_number(stop.number) {
                    self.free(at);
                }
            }
        }
        Placed::Yes
    }

    /// A StopTransaction. Its number decides; without a known one it is taken for the only open session of the station that it fits, until that
    /// turns out wrong. Who started it pays.
    pub(super) fn stop(&mut self, entry: &Entry<'_>, said: Stop) -> Placed {
        let card = said.token.as_ref().map_or(String::new(), |token| part(&token.code));
        let meter = said.meter.map(|wh| wh.normalize().to_string()).unwrap_or_default();
        let print = format!("e:{}:{}:{meter}:{card}", said.number, said.when.at.0);
        let named = self.numbered(said.number);
        if let Some(at) = named {
            // The same words again are of the session that they ended, whoever has the number by now; unless that was only presumed.
            if let Some(before) = self.find(&print).filter(|before| *before != at) {
                let end = self.station.sessions[before].known.end.as_ref();
                if end.is_some_and(|end| end.presumed.is_none()) {
                    return Placed::Yes;
                }
                self.free(before);
            }
            let known = &self.station.sessions[at].known;
            let start = known.start.map_or(known.seen, |start| start.at);
            let presumed = known.end.as_ref().is_some_and(|end| end.presumed.is_some());
            let same = known.has_stop(&said);
            if same && !presumed {
                return Placed::Yes;
            }
            let taken = known.end.is_some() && !presumed;
            let beyond = known.until.is_some_and(|until| said.when.at > until) || said.when.at.0.saturating_sub(start.0) > MAX_STAY;
            let contradicts = known.contradicts(&said);
            let key = format!("t:{}", said.number);
            // Numbers are used again: it may be that of a session whose answer nobody saw, or that had the number until this one was given it.
            let may_be = |state: &State| if taken || beyond { !state.numbered } else { contradicts && state.lost.contains(&key) };
            if let Some(other) = self.only_one(|state| may_be(state) && state.known.could_end(&said)) {
                self.end(entry, other, print, said, true);
                return Placed::Yes;
            }
            if taken {
                return Placed::Stray(StrayReason::SecondStop);
            }
            if !same {
                self.free(at);
            }
            self.end(entry, at, print, said, false);
            return Placed::Yes;
        }
        if self.find(&print).is_some() {
            return Placed::Yes;
        }
        // One below zero that nobody was given is the station's own, until it knows better.
        let unknown = said.number > 0;
        match self.only_one(|state| !(unknown && state.numbered) && state.known.could_end(&said)) {
            Some(at) => {
                self.end(entry, at, print, said, true);
                Placed::Yes
            }
            None => Placed::NotYet,
        }
    }

    /// MeterValues. Those that name no transaction are of the session open at the connector at their time; those that name an unknown one, or
    /// one that was over by then, wait: the answer with their number may come. Connector 0 is the main meter.
    pub(super) fn readings(&mut self, entry: &Entry<'_>, said: &Readings) -> Placed {
        let (Some(first), true) = (said.samples.iter().map(|(_, sample)| sample.at).min(), said.connector > 0) else {
            return Placed::Yes;
        };
        let number = said.number.unwrap_or_default();
        let named = self.numbered(number);
        let at = if number > 0 || named.is_some() {
            let found = named.filter(|at| {
                let end = self.station.sessions[*at].known.end.as_ref();
                end.is_none_or(|end| end.when.odd || end.presumed.is_some() || first.0 <= end.when.at.0.saturating_add(SLOP))
            });
            let Some(at) = found else { return Placed::NotYet };
            // One that was given again while its session ran is of two: the connector tells them apart.
            let elsewhere = self.station.sessions[at].known.connector != said.connector;
            let key = format!("t:{number}");
            let other = self.spanning(said.connector, first).filter(|other| elsewhere && self.station.sessions[*other].lost.contains(&key));
            other.unwrap_or(at)
        } else {
            let Some(at) = self.spanning(said.connector, first) else { return Placed::Stray(StrayReason::OutsideSession) };
            at
        };
        let last = said.samples.iter().filter(|(_, sample)| !sample.odd).map(|(_, sample)| sample.at).max();
        let end = self.station.sessions[at].known.end.as_ref();
        if end.is_some_and(|end| end.presumed.is_some() && last.is_some_and(|last| last > end.when.at)) {
            // It went on.
            self.free(at);
        }
        self.learn(entry, at, |known| known.add_samples(&said.samples));
        Placed::Yes
    }

    /// The session that has a number.
    fn numbered(&mut self, number: i64) -> Option<usize> {
        if is_number(number) { self.find(&format!("t:{number}")) } else { None }
    }

    /// The session that was open at a connector at a moment; of several the one that began last.
    fn spanning(&self, connector: u32, moment: Timestamp) -> Option<usize> {
        let spans = |state: &State| state.closed.is_none() && state.known.connector == connector && state.known.spans(moment);
        let sessions = self.station.sessions.iter().enumerate().filter(|(_, state)| spans(state));
        sessions.max_by_key(|(_, state)| (state.known.start, state.first)).map(|(at, _)| at)
    }

    /// The only open session for which something holds.
    fn only_one(&self, fits: impl Fn(&State) -> bool) -> Option<usize> {
        let mut fitting = self.station.sessions.iter().enumerate().filter(|(_, state)| state.closed.is_none() && fits(state));
        let one = fitting.next()?;
        fitting.next().is_none().then_some(one.0)
    }

    fn end(&mut self, entry: &Entry<'_>, at: usize, print: String, said: Stop, presumed: bool) {
        self.claim(at, print);
        let presumed = presumed.then(|| self.held(entry));
        self.learn(entry, at, |known| known.stop(said, presumed));
    }

    /// Takes a presumed stop away from a session: it waits for its own again.
    fn free(&mut self, at: usize) {
        let state = &mut self.station.sessions[at];
        let Some(presumed) = state.known.end.as_mut().and_then(|end| end.presumed.take()) else { return };
        state.known.end = None;
        state.keys.retain(|key| !key.starts_with("e:"));
        state.closed = None;
        self.freed.push(presumed.fact);
        self.touch(at);
    }
}

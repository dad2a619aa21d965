//! What next hops said last, each text once.
//!
//! A host that is down defers thousands of messages with the same words. Replies that differ every time cost what they
//! are long; they are for an operator's eyes only, so that there is a limit, beyond which none is kept.

use siphasher::sip::SipHasher13;
use slab::Slab;
use std::collections::BTreeMap;
use std::hash::Hasher;

use super::message::clip;
use crate::limits::REPLIES_SIZE_MAX;

/// What a text costs besides its bytes: its place, its entry in the map, what the allocator adds.
const REPLY_WEIGHT: usize = 80;

#[derive(Debug)]
struct Reply {
    text: Box<str>,
    /// Recipients whose last reply it is.
    count: u32,
}

/// Texts by number; 0 is none.
#[derive(Debug, Default)]
pub(super) struct Replies {
    replies: Slab<Reply>,
    /// By hash. Of two texts with one hash the second is not shared.
    places: BTreeMap<u64, u32>,
    size: usize,
}

impl Replies {
    /// The number of a text, which counts one more time.
    pub(super) fn keep(&mut self, text: &str) -> u32 {
        let text = clip(text);
        let hash = hash(text);
        let known = self.places.get(&hash).and_then(|place| Some((*place, self.replies.get_mut(*place as usize)?)));
        if let Some((place, reply)) = known
            && *reply.text == *text
        {
            reply.count += 1;
            return place + 1;
        }
        if self.size + text.len() + REPLY_WEIGHT > REPLIES_SIZE_MAX {
            return 0;
        }
        self.size += text.len() + REPLY_WEIGHT;
        let place = self.replies.insert(Reply { text: text.into(), count: 1 });
        let place = u32::try_from(place).expect("their size is bounded");
        self.places.entry(hash).or_insert(place);
        place + 1
    }

    /// It counts one time less.
    pub(super) fn drop_one(&mut self, number: u32) {
        let Some(place) = number.checked_sub(1) else { return };
        let reply = &mut self.replies[place as usize];
        reply.count -= 1;
        if reply.count == 0 {
            let Reply { text, .. } = self.replies.remove(place as usize);
            self.size -= text.len() + REPLY_WEIGHT;
            let hash = hash(&text);
            if self.places.get(&hash) == Some(&place) {
                self.places.remove(&hash);
            }
        }
    }

    pub(super) fn text(&self, number: u32) -> Option<&str> {
        let place = number.checked_sub(1)?;
        self.replies.get(place as usize).map(|reply| &*reply.text)
    }

    /// Bytes of memory, nearly.
    pub(super) fn size(&self) -> usize {
        self.size
    }
}

fn hash(text: &str) -> u64 {
    let mut hasher = SipHasher13::new();
    hasher.write(text.as_bytes());
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_kept_once_and_as_long_as_somebody_has_it() {
        let mut replies = Replies::default();
        let (first, second) = (replies.keep("451 4.3.0 later"), replies.keep("450 4.2.0 busy"));
        assert_eq!(replies.keep("451 4.3.0 later"), first);
        replies.drop_one(first);
        assert_eq!(replies.text(first), Some("451 4.3.0 later"));
        replies.drop_one(first);
        assert_eq!(replies.text(first), None);
        assert_eq!(replies.text(second), Some("450 4.2.0 busy"));
        replies.drop_one(second);
        assert_eq!(replies.size(), 0);
        assert_eq!(replies.text(0), None);
        replies.drop_one(0);
    }

    #[test]
    fn replies_that_all_differ_stop_at_the_limit() {
        let mut replies = Replies::default();
        let kept: Vec<u32> = (0..).map(|n| replies.keep(&format!("{n:01000}"))).take_while(|kept| *kept > 0).collect();
        assert!(replies.size() <= REPLIES_SIZE_MAX);
        assert!(kept.len() > REPLIES_SIZE_MAX / 2000);
        replies.drop_one(kept[7]);
        assert!(replies.keep("there is room again") > 0);
    }
}

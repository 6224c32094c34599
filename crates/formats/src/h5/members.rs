//! The members of groups: each group is listed once.
//!
//! The HDF5 crate finds a member by parsing the whole group around it. Looking up every layer of a network like this takes
//! time that grows with the square of the number of layers.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::sync::Arc;

use hdf5_pure::{Dataset, Group};

use super::H5Entry;
use super::counting_source::ByteCount;

/// Bytes of bookkeeping per member (an estimate).
const MEMBER_RECORD: u64 = 256;

/// The limits on the bytes of all listings of a file. Valid files stay below twice their own length, but for very small ones.
const LIMITS: std::ops::RangeInclusive<u64> = 1 << 20..=16 << 20;

/// Bytes that the listings of a file of `len` bytes may take.
pub(super) fn limit(len: u64) -> u64 {
    len.saturating_mul(2).clamp(*LIMITS.start(), *LIMITS.end())
}

/// A member of a group.
#[derive(Debug)]
enum Member {
    Group(Group),
    Dataset(Dataset),
}

/// The members of one group, sorted by name.
#[derive(Debug)]
pub(super) struct Members(Vec<(String, Member)>);

impl Members {
    /// Every member: its name, and whether it is a group.
    pub(super) fn entries(&self) -> Vec<H5Entry> {
        let entry = |(name, member): &(String, Member)| H5Entry {
            name: name.clone(),
            is_group: matches!(member, Member::Group(_)),
        };
        self.0.iter().map(entry).collect()
    }

    /// The group called `name`.
    pub(super) fn group(&self, name: &str) -> Option<&Group> {
        self.called(name).find_map(|member| match member {
            Member::Group(group) => Some(group),
            Member::Dataset(_) => None,
        })
    }

    /// The dataset called `name`.
    pub(super) fn dataset(&self, name: &str) -> Option<&Dataset> {
        self.called(name).find_map(|member| match member {
            Member::Dataset(dataset) => Some(dataset),
            Member::Group(_) => None,
        })
    }

    /// The members called `name`: at most one in a valid file.
    fn called(&self, name: &str) -> impl Iterator<Item = &Member> {
        let first = self.0.partition_point(|(other, _)| other.as_str() < name);
        self.0[first..].iter().take_while(move |(other, _)| other == name).map(|(_, member)| member)
    }
}

/// The listings of a file's groups, within a limit of memory.
#[derive(Debug)]
pub(super) struct Listings {
    /// By the path of the group. `None`: the group can't be listed within the limit, or is damaged.
    known: RefCell<HashMap<String, Option<Arc<Members>>>>,
    bytes_read: ByteCount,
    /// Bytes left for further listings.
    left: Cell<u64>,
}

impl Listings {
    /// No listings yet. `bytes_read` counts the bytes that the HDF5 crate reads from the file; all listings together take at
    /// most `limit` bytes.
    pub(super) fn new(bytes_read: ByteCount, limit: u64) -> Self {
        Self { known: RefCell::default(), bytes_read, left: limit.into() }
    }

    /// The members of a group. `group` finds the group, and is only called for a path that wasn't listed before.
    ///
    /// `None` if the group is damaged or the limit is reached. Then the HDF5 crate must look members up one at a time.
    pub(super) fn of<E>(
        &self,
        path: &str,
        group: impl FnOnce() -> Result<Group, E>,
    ) -> Result<Option<Arc<Members>>, E> {
        if let Some(known) = self.known.borrow().get(path) {
            return Ok(known.clone());
        }
        let members = self.list(path, &group()?).map(Arc::new);
        self.known.borrow_mut().insert(path.to_owned(), members.clone());
        Ok(members)
    }

    /// Lists a group if that takes no more bytes than are left.
    fn list(&self, path: &str, group: &Group) -> Option<Members> {
        let (groups, cost) = self.bytes_read.during(|| group.iter_groups());
        // A kept dataset holds its object header. Links that share a header make a small file hold many, so the bytes of
        // all headers count before any of them is kept. The first pass has read the same headers.
        let left = self.left.get().checked_sub(cost)?;
        let groups = groups.ok()?.map(|(name, group)| (name, Member::Group(group)));
        let datasets = group.iter_datasets().ok()?.map(|(name, dataset)| (name, Member::Dataset(dataset)));
        let mut members: Vec<_> = groups.chain(datasets).collect();
        // A handle holds its path.
        let record = |(name, _): &(String, Member)| MEMBER_RECORD + 2 * (path.len() + name.len()) as u64;
        self.left.set(left.checked_sub(members.iter().map(record).sum())?);
        members.sort_by(|(a, _), (b, _)| a.cmp(b));
        Some(Members(members))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use hdf5_pure::{Error, File, ReadSeekSource};

    use super::super::H5Writer;
    use super::super::counting_source::CountingSource;
    use super::*;

    /// A file of `count` layers with an array each.
    fn layers(count: usize) -> Vec<u8> {
        let mut writer = H5Writer::new();
        for layer in 0..count {
            writer.f32(&format!("layers/dense_{layer}/0"), &[1], vec![1.0]).unwrap();
        }
        let mut bytes = Vec::new();
        writer.write_to(&mut bytes).unwrap();
        bytes
    }

    fn open(bytes: Vec<u8>, limit: u64) -> (File, Listings) {
        let count = ByteCount::default();
        let source = CountingSource::new(ReadSeekSource::new(Cursor::new(bytes)).unwrap(), count.clone());
        (File::from_source(source).unwrap(), Listings::new(count, limit))
    }

    /// Bytes read to look up every array of as many layers.
    fn bytes_to_find(count: usize) -> u64 {
        let (file, listings) = open(layers(count), u64::MAX);
        let find = |layer: usize| {
            let members = listings.of("layers", || file.group("layers")).unwrap().unwrap();
            let name = format!("dense_{layer}");
            let layer = members.group(&name).unwrap().clone();
            let arrays = listings.of(&format!("layers/{name}"), || Ok::<_, Error>(layer)).unwrap().unwrap();
            assert!(arrays.dataset("0").is_some() && arrays.dataset("1").is_none() && arrays.group("0").is_none());
        };
        listings.bytes_read.during(|| (0..count).for_each(find)).1
    }

    #[test]
    fn the_bytes_read_grow_with_the_number_of_layers() {
        let (few, many) = (bytes_to_find(50), bytes_to_find(500));
        assert!(many < 12 * few, "{few} bytes for 50 layers, {many} for 500");
    }

    #[test]
    fn members_are_sorted_and_told_apart() {
        let (file, listings) = open(layers(11), u64::MAX);
        let entries = listings.of("", || Ok::<_, Error>(file.root())).unwrap().unwrap().entries();
        assert_eq!(entries, [H5Entry { name: "layers".into(), is_group: true }]);
        let entries = listings.of("layers", || file.group("layers")).unwrap().unwrap().entries();
        assert_eq!((entries.len(), entries[2].name.as_str(), entries[3].name.as_str()), (11, "dense_10", "dense_2"));
        assert!(listings.of("absent", || file.group("absent")).is_err());
    }

    #[test]
    fn nothing_is_listed_beyond_the_limit() {
        let (file, listings) = open(layers(11), 4000);
        let first = || listings.of("layers/dense_0", || file.group("layers/dense_0")).unwrap();
        assert!(first().is_some());
        assert!(listings.of("layers", || file.group("layers")).unwrap().is_none());
        assert!(first().is_some(), "what is listed already stays");
        assert_eq!([limit(0), limit(1 << 22), limit(u64::MAX)], [1 << 20, 1 << 23, 16 << 20]);
    }
}

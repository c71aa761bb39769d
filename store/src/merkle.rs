//! The Merkle tree over a ledger's leaf hashes, RFC 6962 section 2.1, kept as its frontier.
//! Called by the writer (to append) and by `verify` (to recompute); it never sees an event.

use sha2::{Digest, Sha256};

/// A SHA-256 digest.
pub(crate) type Hash = [u8; 32];

const HASH_BYTES: usize = 32;
/// Domain separation of leaves, RFC 6962 section 2.1.
pub(crate) const LEAF_PREFIX: u8 = 0x00;
/// Domain separation of inner nodes, RFC 6962 section 2.1.
const NODE_PREFIX: u8 = 0x01;

/// All that is needed of a tree to append to it and to know its root: the roots of its perfect subtrees.
///
/// A tree of n leaves has one perfect subtree per set bit of n, the largest on the left.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Frontier {
    leaves: u64,
    subtrees: Vec<Hash>,
}

impl Frontier {
    /// Reads a frontier of `leaves` leaves; `None` when `bytes` has not the length that such a tree needs.
    pub(crate) fn from_stored(leaves: u64, bytes: &[u8]) -> Option<Self> {
        let (subtrees, rest) = bytes.as_chunks::<HASH_BYTES>();
        (rest.is_empty() && subtrees.len() == leaves.count_ones() as usize)
            .then(|| Self { leaves, subtrees: subtrees.to_vec() })
    }

    /// The subtrees' roots, largest first, 32 bytes each.
    pub(crate) fn to_stored(&self) -> Vec<u8> {
        self.subtrees.as_flattened().to_vec()
    }

    /// The smallest subtree's root, which every leaf after a common beginning changes: two histories of one length that differ at their ends
    /// differ here. `None` for a tree without leaves.
    pub(crate) fn tip(&self) -> Option<Hash> {
        self.subtrees.last().copied()
    }

    /// Adds the next leaf. Amortised one hash.
    pub(crate) fn append(&mut self, leaf: Hash) {
        let mut node = leaf;
        for _ in 0..self.leaves.trailing_ones() {
            let left = self.subtrees.pop().expect("one subtree per set bit of the leaf count");
            node = node_hash(&left, &node);
        }
        self.subtrees.push(node);
        self.leaves += 1;
    }

    /// The tree's root; SHA-256 of the empty string for a tree without leaves.
    pub(crate) fn root(&self) -> Hash {
        let mut from_right = self.subtrees.iter().rev();
        let Some(&smallest) = from_right.next() else {
            return Sha256::digest([]).into();
        };
        from_right.fold(smallest, |right, left| node_hash(left, &right))
    }
}

fn node_hash(left: &Hash, right: &Hash) -> Hash {
    let mut node = [0; 1 + 2 * HASH_BYTES];
    node[0] = NODE_PREFIX;
    node[1..=HASH_BYTES].copy_from_slice(left);
    node[1 + HASH_BYTES..].copy_from_slice(right);
    Sha256::digest(node).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// RFC 6962 section 2.1, read literally: split at the largest power of two smaller than n.
    fn naive_root(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => Sha256::digest([]).into(),
            [leaf] => *leaf,
            _ => {
                let mut split = 1;
                while split * 2 < leaves.len() {
                    split *= 2;
                }
                let mut hasher = Sha256::new();
                hasher.update([0x01]);
                hasher.update(naive_root(&leaves[..split]));
                hasher.update(naive_root(&leaves[split..]));
                hasher.finalize().into()
            }
        }
    }

    fn leaf(data: &[u8]) -> Hash {
        let mut hasher = Sha256::new();
        hasher.update([LEAF_PREFIX]);
        hasher.update(data);
        hasher.finalize().into()
    }

    fn hex(hash: Hash) -> String {
        hash.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn unhex(text: &str) -> Vec<u8> {
        (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).expect("hex")).collect()
    }

    #[test]
    fn roots_are_those_of_the_certificate_transparency_reference_tests() {
        // Inputs and roots of google/certificate-transparency, cpp/merkletree/merkle_tree_test.cc.
        let inputs = [
            "",
            "00",
            "10",
            "2021",
            "3031",
            "40414243",
            "5051525354555657",
            "606162636465666768696a6b6c6d6e6f",
        ];
        let roots = [
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
            "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
            "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
            "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
            "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
        ];
        let mut tree = Frontier::default();
        assert_eq!(hex(tree.root()), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        for (input, root) in inputs.iter().zip(roots) {
            tree.append(leaf(&unhex(input)));
            assert_eq!(hex(tree.root()), root);
        }
    }

    #[test]
    fn a_stored_frontier_of_the_wrong_length_is_not_one() {
        assert!(Frontier::from_stored(0, &[]).is_some());
        assert!(Frontier::from_stored(3, &[7; 64]).is_some());
        assert!(Frontier::from_stored(3, &[7; 32]).is_none());
        assert!(Frontier::from_stored(1, &[7; 33]).is_none());
    }

    proptest! {
        #[test]
        fn every_root_equals_the_naive_tree_and_survives_storage(leaves in proptest::collection::vec(any::<Hash>(), 0..70)) {
            let mut tree = Frontier::default();
            for (n, leaf) in leaves.iter().enumerate() {
                tree.append(*leaf);
                prop_assert_eq!(tree.root(), naive_root(&leaves[..=n]));
                let stored = Frontier::from_stored(n as u64 + 1, &tree.to_stored());
                prop_assert_eq!(stored.as_ref(), Some(&tree));
            }
        }
    }
}

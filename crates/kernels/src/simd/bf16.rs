//! bf16 instructions: their detection, and a scalar emulation for tests. A bf16 is the upper half of an f32.

#![expect(unsafe_code, reason = "vectors are split into lanes through memory")]

use std::{fmt, io};

use super::amx::Amx;
#[cfg(target_arch = "x86_64")]
use super::avx512::Avx512;
#[cfg(test)]
use super::portable::{Portable, Wide};
use super::{Isa, Kernel, MAX_LANES, Simd};

/// A token: this CPU has bf16 instructions, which compute two multiply-accumulates per lane.
///
/// [`Conv2d::in_bf16`](crate::Conv2d::in_bf16) takes it.
///
/// ```
/// use engraft_kernels::Bf16;
/// match Bf16::detect() {
///     Ok(_) => println!("convolutions can compute in bf16"),
///     Err(error) => println!("{error}"),
/// }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Bf16(Backend);

#[derive(Clone, Copy, Debug)]
enum Backend {
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512<true>),
    #[cfg(test)]
    Portable(Portable),
    #[cfg(test)]
    Wide(Wide),
}

/// The error if this CPU, or the chosen instruction set, lacks bf16 instructions.
///
/// ```
/// use engraft_kernels::Bf16;
/// if let Err(error) = Bf16::detect() {
///     assert_eq!(error.kind(), std::io::ErrorKind::Unsupported);
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bf16Error {
    /// The instruction set that [`Isa::VARIABLE`] chose, if the CPU has bf16 instructions that this choice disables.
    chosen: Option<&'static str>,
}

impl fmt::Display for Bf16Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (best, variable) = (Isa::best().name(), Isa::VARIABLE);
        match self.chosen {
            Some(chosen) => {
                write!(f, "bf16 needs AVX-512 with its BF16 instructions, and {variable} asks for {chosen}")
            }
            None => {
                write!(f, "bf16 needs a CPU with AVX-512 and its BF16 instructions; this one has {best} without them")
            }
        }
    }
}

impl std::error::Error for Bf16Error {}

impl Bf16Error {
    /// The kind of the error: unsupported. No other error causes it, so it has no source.
    pub fn kind(&self) -> io::ErrorKind {
        io::ErrorKind::Unsupported
    }
}

impl Bf16 {
    /// The token, if this CPU has the instructions and [`Isa::VARIABLE`] doesn't choose a lesser instruction set.
    ///
    /// # Errors
    /// If the CPU lacks them, or the variable disables them.
    pub fn detect() -> Result<Self, Bf16Error> {
        let chosen = Isa::current().name();
        #[cfg(target_arch = "x86_64")]
        let could = match Avx512::<true>::detect() {
            Some(simd) if chosen == "avx512" => return Ok(Self(Backend::Avx512(simd))),
            simd => simd.is_some(),
        };
        #[cfg(not(target_arch = "x86_64"))]
        let could = false;
        Err(Bf16Error { chosen: could.then_some(chosen) })
    }

    /// The instructions, if this CPU has them, and emulations.
    #[cfg(test)]
    pub(crate) fn tested() -> impl Iterator<Item = Self> {
        let plain = [Self(Backend::Portable(Portable {})), Self(Backend::Wide(Wide {}))];
        Self::detect().into_iter().chain(plain)
    }

    /// The AMX matrix unit, if the CPU has one and the operating system lets this process use it.
    pub(crate) fn amx(self) -> Option<Amx> {
        #[cfg(test)]
        if matches!(self.0, Backend::Portable(_) | Backend::Wide(_)) {
            return None;
        }
        Amx::detect()
    }

    /// The f32 instruction set that the bf16 instructions extend.
    pub(crate) fn isa(self) -> Isa {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Backend::Avx512(simd) => simd.without_bf16().into(),
            #[cfg(test)]
            Backend::Portable(simd) => simd.into(),
            #[cfg(test)]
            Backend::Wide(simd) => simd.into(),
        }
    }

    /// Runs a kernel, compiled with the bf16 instructions enabled.
    #[inline]
    pub(crate) fn run<K: Kernel>(self, kernel: K) -> K::Output {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Backend::Avx512(simd) => simd.run(kernel),
            #[cfg(test)]
            Backend::Portable(simd) => simd.run(kernel),
            #[cfg(test)]
            Backend::Wide(simd) => simd.run(kernel),
        }
    }
}

/// Rounds to the nearest bf16, ties to even. NaN stays NaN.
fn round(x: f32) -> u16 {
    let bits = x.to_bits();
    match x.is_nan() {
        true => (bits >> 16) as u16 | 0x40,
        false => ((bits + 0x7fff + (bits >> 16 & 1)) >> 16) as u16,
    }
}

/// Emulation of [`Simd::add_bf16_products`].
///
/// The emulations are never inlined: only tests run them, and inlined into every kernel they would take minutes to compile.
#[inline(never)]
pub(super) fn add_products<S: Simd>(simd: S, a: S::Vector, b: S::Vector, sum: S::Vector) -> S::Vector {
    let [a, b, mut sums] = [lanes(simd, a), lanes(simd, b), lanes(simd, sum)];
    let lower = |x: f32| f32::from_bits(x.to_bits() << 16);
    let upper = |x: f32| f32::from_bits(x.to_bits() & 0xffff_0000);
    for (sum, (a, b)) in sums.iter_mut().zip(a.into_iter().zip(b)) {
        *sum += lower(a) * lower(b) + upper(a) * upper(b);
    }
    // SAFETY: the array holds a whole vector.
    unsafe { simd.load(sums.as_ptr()) }
}

/// Emulation of [`Simd::pair_bf16`].
#[inline(never)]
pub(super) fn pairs<S: Simd>(simd: S, low: S::Vector, high: S::Vector) -> S::Vector {
    let (mut pairs, high) = (lanes(simd, low), lanes(simd, high));
    for (low, high) in pairs.iter_mut().zip(high) {
        *low = f32::from_bits(u32::from(round(*low)) | u32::from(round(high)) << 16);
    }
    // SAFETY: the array holds a whole vector.
    unsafe { simd.load(pairs.as_ptr()) }
}

/// Emulation of [`Simd::store_bf16`].
///
/// # Safety
/// `LANES` bf16 must be writable at `to`.
#[inline(never)]
pub(super) unsafe fn store<S: Simd>(simd: S, x: S::Vector, to: *mut u16) {
    for (lane, x) in lanes(simd, x).into_iter().take(S::LANES).enumerate() {
        // SAFETY: the caller's promise.
        unsafe { to.add(lane).write_unaligned(round(x)) };
    }
}

#[inline(always)]
fn lanes<S: Simd>(simd: S, x: S::Vector) -> [f32; MAX_LANES] {
    let mut lanes = [0.0; MAX_LANES];
    // SAFETY: the array holds a whole vector.
    unsafe { simd.store(x, lanes.as_mut_ptr()) };
    lanes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pairs of an f32 and the bf16 that it rounds to: exact, ties to even down and up, just above a tie, near and beyond the
    /// largest bf16, infinity, zero.
    const ROUNDED: [(f32, f32); 9] = [
        (1.0, 1.0),
        (-0.15625, -0.15625),
        (1.003_906_2, 1.0),
        (1.011_718_8, 1.015_625),
        (1.003_906_4, 1.007_812_5),
        (3.0e38, f32::from_bits(0x7f62_0000)),
        (3.4e38, f32::INFINITY),
        (f32::NEG_INFINITY, f32::NEG_INFINITY),
        (0.0, 0.0),
    ];

    struct EveryOperation;

    impl Kernel for EveryOperation {
        type Output = ();

        #[inline(always)]
        fn run<S: Simd>(self, simd: S) {
            let lane = |x: S::Vector| {
                let mut lanes = [0.0; MAX_LANES];
                // SAFETY: the array holds a whole vector.
                unsafe { simd.store(x, lanes.as_mut_ptr()) };
                assert!(lanes[..S::LANES].iter().all(|x| x.to_bits() == lanes[0].to_bits()));
                lanes[0]
            };
            for (x, expected) in ROUNDED {
                let mut written = [0; MAX_LANES];
                // SAFETY: as above.
                unsafe { simd.store_bf16(simd.splat(x), written.as_mut_ptr()) };
                assert!(
                    written[..S::LANES].iter().all(|&bits| f32::from_bits(u32::from(bits) << 16) == expected),
                    "{x}"
                );
                let pair = lane(simd.pair_bf16(simd.splat(x), simd.splat(2.0))).to_bits();
                assert_eq!(f32::from_bits(pair << 16), expected);
                assert_eq!(f32::from_bits(pair & 0xffff_0000), 2.0);
            }
            let pair = |low: f32, high: f32| simd.pair_bf16(simd.splat(low), simd.splat(high));
            let sum = simd.add_bf16_products(pair(1.5, -2.0), pair(4.0, 0.25), simd.splat(10.0));
            assert_eq!(lane(sum), 1.5 * 4.0 - 2.0 * 0.25 + 10.0);
            for x in [f32::NAN, f32::INFINITY] {
                assert!(!lane(simd.add_bf16_products(pair(1.0, x), pair(1.0, 1.0), simd.splat(0.0))).is_finite());
            }
        }
    }

    #[test]
    fn instructions_and_plain_code_do_the_same() {
        Bf16::tested().for_each(|bf16| bf16.run(EveryOperation));
    }

    #[test]
    fn where_it_is_missing_the_error_says_what_it_needs() {
        let error = |chosen| Bf16Error { chosen }.to_string();
        let (could, can_not) = (error(Some("avx2")), error(None));
        assert_eq!(Bf16Error { chosen: None }.kind(), io::ErrorKind::Unsupported);
        assert!(could.contains("AVX-512") && could.contains("ENGRAFT_ISA asks for avx2"), "{could}");
        // The message names the best instruction set of the CPU, not the chosen one.
        let has = format!("this one has {}", Isa::best().name());
        assert!(can_not.contains("AVX-512") && can_not.contains(&has), "{can_not}");
    }
}

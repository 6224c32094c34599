//! The choice of the instruction set at run time.

use std::sync::OnceLock;
use std::{fmt, io};

#[cfg(test)]
use super::portable::Wide;
use super::{Kernel, Simd, portable::Portable};
#[cfg(target_arch = "x86_64")]
use super::{avx2::Avx2, avx512::Avx512};

/// An instruction set that this CPU has.
///
/// Kernels run on the one that [`chosen`](Self::chosen) returns.
///
/// ```
/// use engraft_kernels::Isa;
/// let isa = Isa::chosen()?;
/// assert!(Isa::supported().any(|supported| supported.name() == isa.name()));
/// # Ok::<(), engraft_kernels::IsaError>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Isa(Backend);

#[derive(Clone, Copy, Debug)]
enum Backend {
    Portable(Portable),
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
    #[cfg(test)]
    Wide(Wide),
}

#[cfg(target_arch = "x86_64")]
impl From<Avx512> for Isa {
    fn from(simd: Avx512) -> Self {
        Self(Backend::Avx512(simd))
    }
}

#[cfg(test)]
impl From<Portable> for Isa {
    fn from(simd: Portable) -> Self {
        Self(Backend::Portable(simd))
    }
}

#[cfg(test)]
impl From<Wide> for Isa {
    fn from(simd: Wide) -> Self {
        Self(Backend::Wide(simd))
    }
}

/// The error if [`Isa::VARIABLE`] names an instruction set that this CPU lacks.
///
/// ```
/// use engraft_kernels::Isa;
/// match Isa::chosen() {
///     Ok(isa) => println!("kernels for {}", isa.name()),
///     Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput),
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IsaError {
    requested: String,
}

impl fmt::Display for IsaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let supported: Vec<_> = Isa::supported().map(Isa::name).collect();
        let (variable, requested, supported) = (Isa::VARIABLE, &self.requested, supported.join(", "));
        write!(
            f,
            "{variable}: expected one that this CPU has ({supported}), received `{requested}`; unset it for the best"
        )
    }
}

impl std::error::Error for IsaError {}

impl IsaError {
    /// The kind of the error: invalid input. No other error causes it, so it has no source.
    pub fn kind(&self) -> io::ErrorKind {
        io::ErrorKind::InvalidInput
    }
}

impl Isa {
    /// The environment variable that forces an instruction set: `portable`, `avx2` or `avx512`.
    pub const VARIABLE: &str = "ENGRAFT_ISA";

    /// The instruction sets that this CPU has, from the slowest to the fastest.
    pub fn supported() -> impl Iterator<Item = Self> {
        #[cfg(target_arch = "x86_64")]
        let x86 = [Avx2::detect().map(Backend::Avx2), Avx512::detect().map(Backend::Avx512)];
        #[cfg(not(target_arch = "x86_64"))]
        let x86 = [];
        std::iter::once(Backend::Portable(Portable {})).chain(x86.into_iter().flatten()).map(Self)
    }

    /// The instruction sets that this CPU has, and an emulation of 512-bit vectors.
    #[cfg(test)]
    pub(crate) fn tested() -> impl Iterator<Item = Self> {
        Self::supported().chain([Self(Backend::Wide(Wide {}))])
    }

    /// The instruction set that the environment variable [`VARIABLE`](Self::VARIABLE) names, or the fastest if it isn't set.
    ///
    /// The variable is read once per process.
    ///
    /// # Errors
    /// If the variable names an instruction set that this CPU lacks.
    pub fn chosen() -> Result<Self, IsaError> {
        static CHOSEN: OnceLock<Result<Isa, IsaError>> = OnceLock::new();
        CHOSEN
            .get_or_init(|| Self::named(std::env::var_os(Self::VARIABLE).map(|name| name.to_string_lossy().into())))
            .clone()
    }

    fn named(name: Option<String>) -> Result<Self, IsaError> {
        match name {
            Some(requested) => Self::supported().find(|isa| isa.name() == requested).ok_or(IsaError { requested }),
            None => Ok(Self::best()),
        }
    }

    /// The instruction set that kernels use: [`chosen`](Self::chosen), or the fastest if that fails.
    ///
    /// Programs report the failure by calling `chosen` first.
    pub(crate) fn current() -> Self {
        Self::chosen().unwrap_or_else(|_| Self::best())
    }

    /// The fastest instruction set of this CPU.
    pub(super) fn best() -> Self {
        Self::supported().last().unwrap_or(Self(Backend::Portable(Portable {})))
    }

    /// The name of the instruction set, as in [`VARIABLE`](Self::VARIABLE).
    pub fn name(self) -> &'static str {
        match self.0 {
            Backend::Portable(_) => "portable",
            #[cfg(target_arch = "x86_64")]
            Backend::Avx2(_) => "avx2",
            #[cfg(target_arch = "x86_64")]
            Backend::Avx512(_) => "avx512",
            #[cfg(test)]
            Backend::Wide(_) => "wide",
        }
    }

    /// Runs a kernel with this instruction set.
    #[inline]
    pub(crate) fn run<K: Kernel>(self, kernel: K) -> K::Output {
        match self.0 {
            Backend::Portable(simd) => simd.run(kernel),
            #[cfg(target_arch = "x86_64")]
            Backend::Avx2(simd) => simd.run(kernel),
            #[cfg(target_arch = "x86_64")]
            Backend::Avx512(simd) => simd.run(kernel),
            #[cfg(test)]
            Backend::Wide(simd) => simd.run(kernel),
        }
    }

    /// Runs scalar loops, which the compiler vectorizes for this instruction set. `work` must be `inline(always)`.
    #[inline]
    pub(crate) fn run_plain<R>(self, work: impl FnOnce() -> R) -> R {
        struct Plain<F>(F);
        impl<R, F: FnOnce() -> R> Kernel for Plain<F> {
            type Output = R;

            #[inline(always)]
            fn run<S: Simd>(self, _: S) -> R {
                (self.0)()
            }
        }
        self.run(Plain(work))
    }

    /// Number of f32 in a vector of this instruction set.
    pub(crate) fn lanes(self) -> usize {
        struct Lanes;
        impl Kernel for Lanes {
            type Output = usize;

            #[inline(always)]
            fn run<S: Simd>(self, _: S) -> usize {
                S::LANES
            }
        }
        self.run(Lanes)
    }

    /// Columns of a register tile on this instruction set.
    pub(crate) fn columns(self) -> usize {
        struct Columns;
        impl Kernel for Columns {
            type Output = usize;

            #[inline(always)]
            fn run<S: Simd>(self, _: S) -> usize {
                crate::microkernel::columns::<S>()
            }
        }
        self.run(Columns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn portable_is_always_there_and_can_be_asked_for() {
        assert_eq!(Isa::named(Some("portable".into())).unwrap().name(), "portable");
        assert_eq!(Isa::named(None).unwrap().name(), Isa::supported().last().unwrap().name());
    }

    #[test]
    fn what_this_cpu_lacks_is_refused_with_what_it_has() {
        let error = Isa::named(Some("mmx".into())).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        let error = error.to_string();
        assert!(error.contains("ENGRAFT_ISA") && error.contains("portable") && error.contains("`mmx`"), "{error}");
    }
}

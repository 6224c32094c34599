//! Which instruction set kernels run on.

use std::fmt;
use std::sync::OnceLock;

#[cfg(test)]
use super::portable::Wide;
use super::{Kernel, Simd, portable::Portable};
#[cfg(target_arch = "x86_64")]
use super::{avx2::Avx2, avx512::Avx512};

/// The instruction set that kernels are run with: one that this CPU has.
///
/// ```
/// use engraft_kernels::Isa;
/// let isa = Isa::chosen()?;
/// assert!(Isa::supported().any(|supported| supported.name() == isa.name()));
/// # Ok::<(), engraft_kernels::IsaError>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Isa(Proof);

#[derive(Clone, Copy, Debug)]
enum Proof {
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
        Self(Proof::Avx512(simd))
    }
}

#[cfg(test)]
impl From<Portable> for Isa {
    fn from(simd: Portable) -> Self {
        Self(Proof::Portable(simd))
    }
}

#[cfg(test)]
impl From<Wide> for Isa {
    fn from(simd: Wide) -> Self {
        Self(Proof::Wide(simd))
    }
}

/// An instruction set that was asked for cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IsaError {
    asked: String,
}

impl fmt::Display for IsaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let supported: Vec<_> = Isa::supported().map(Isa::name).collect();
        let (variable, asked, supported) = (Isa::VARIABLE, &self.asked, supported.join(", "));
        write!(f, "{variable}: expected one that this CPU has ({supported}), received `{asked}`; unset it for the best")
    }
}

impl std::error::Error for IsaError {}

impl Isa {
    /// The environment variable that forces an instruction set: `portable`, `avx2` or `avx512`.
    pub const VARIABLE: &str = "ENGRAFT_ISA";

    /// All that this CPU has, the best last.
    pub fn supported() -> impl Iterator<Item = Self> {
        #[cfg(target_arch = "x86_64")]
        let x86 = [Avx2::detect().map(Proof::Avx2), Avx512::detect().map(Proof::Avx512)];
        #[cfg(not(target_arch = "x86_64"))]
        let x86 = [];
        std::iter::once(Proof::Portable(Portable {})).chain(x86.into_iter().flatten()).map(Self)
    }

    /// All that this CPU has, and vectors as wide as any in plain code.
    #[cfg(test)]
    pub(crate) fn tested() -> impl Iterator<Item = Self> {
        Self::supported().chain([Self(Proof::Wide(Wide {}))])
    }

    /// The one that the environment asks for, or else the best. Read once.
    ///
    /// # Errors
    /// [`VARIABLE`](Self::VARIABLE) names none that this CPU has.
    pub fn chosen() -> Result<Self, IsaError> {
        static CHOSEN: OnceLock<Result<Isa, IsaError>> = OnceLock::new();
        CHOSEN
            .get_or_init(|| Self::named(std::env::var_os(Self::VARIABLE).map(|name| name.to_string_lossy().into())))
            .clone()
    }

    fn named(name: Option<String>) -> Result<Self, IsaError> {
        match name {
            Some(asked) => Self::supported().find(|isa| isa.name() == asked).ok_or(IsaError { asked }),
            None => Ok(Self::best()),
        }
    }

    /// The one that kernels use: as [`chosen`](Self::chosen), or the best where that fails. A program tells its user of the
    /// failure before it gets here.
    pub(crate) fn current() -> Self {
        Self::chosen().unwrap_or_else(|_| Self::best())
    }

    pub(super) fn best() -> Self {
        Self::supported().last().unwrap_or(Self(Proof::Portable(Portable {})))
    }

    /// As [`VARIABLE`](Self::VARIABLE) spells it.
    pub fn name(self) -> &'static str {
        match self.0 {
            Proof::Portable(_) => "portable",
            #[cfg(target_arch = "x86_64")]
            Proof::Avx2(_) => "avx2",
            #[cfg(target_arch = "x86_64")]
            Proof::Avx512(_) => "avx512",
            #[cfg(test)]
            Proof::Wide(_) => "wide",
        }
    }

    /// Runs a kernel with this instruction set.
    #[inline]
    pub(crate) fn run<K: Kernel>(self, kernel: K) -> K::Output {
        match self.0 {
            Proof::Portable(simd) => simd.run(kernel),
            #[cfg(target_arch = "x86_64")]
            Proof::Avx2(simd) => simd.run(kernel),
            #[cfg(target_arch = "x86_64")]
            Proof::Avx512(simd) => simd.run(kernel),
            #[cfg(test)]
            Proof::Wide(simd) => simd.run(kernel),
        }
    }

    /// Runs plain loops, of which the compiler makes vectors of this instruction set. `work` must be `inline(always)`.
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

    /// Columns of a tile of products.
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
        let error = Isa::named(Some("mmx".into())).unwrap_err().to_string();
        assert!(error.contains("ENGRAFT_ISA") && error.contains("portable") && error.contains("`mmx`"), "{error}");
    }
}

//! One loop, compiled twice: for any CPU of the architecture, and for x86-64 with AVX2, chosen when it runs.
//!
//! Binaries travel between machines, so the build cannot assume more than the architecture's baseline (SSE2 on
//! x86-64). AVX2 is enabled, FMA is not: both versions round at the same places and give the same bits.

/// Defines a function whose body runs with AVX2 where the CPU has it. The body is plain safe Rust.
macro_rules! wide {
    (
        $(#[$attr:meta])*
        $vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? $body:block
    ) => {
        $(#[$attr])*
        $vis fn $name($($arg: $ty),*) $(-> $ret)? {
            #[inline(always)]
            fn plain($($arg: $ty),*) $(-> $ret)? $body

            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2")]
                fn avx2($($arg: $ty),*) $(-> $ret)? {
                    plain($($arg),*)
                }
                if std::arch::is_x86_feature_detected!("avx2") {
                    // SAFETY: all that `avx2` asks for is a CPU with AVX2, and the line above has found one.
                    return unsafe { avx2($($arg),*) };
                }
            }
            plain($($arg),*)
        }
    };
}

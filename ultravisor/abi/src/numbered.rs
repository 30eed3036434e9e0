//! Enums whose values have a number on the wire and a name of the field's.

/// Declares one: the enum, `ALL`, its number both ways, and its name.
macro_rules! numbered {
    (
        $(#[$outer:meta])* $ty:ident($repr:ty), $number:ident, $from:ident {
            $($(#[$doc:meta])* $name:ident = $value:literal, $field:literal;)*
        }
    ) => {
        $(#[$outer])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[repr($repr)]
        pub enum $ty {
            $($(#[$doc])* $name = $value,)*
        }

        impl $ty {
            /// Every value, in the order of declaration.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The value with this number, if there is one.
            pub const fn $from(number: $repr) -> Option<Self> {
                match number {
                    $($value => Some(Self::$name),)*
                    _ => None,
                }
            }

            /// Its number, as it stands in a register.
            pub const fn $number(self) -> $repr {
                match self {
                    $(Self::$name => $value,)*
                }
            }

            /// The name used in every output: the field's own, e.g. `UV_SHARE_PAGE`.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $field,)*
                }
            }
        }
    };
}

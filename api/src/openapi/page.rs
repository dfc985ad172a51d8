//! Concrete pages. A generic page would be inlined into the document with a copy of its items.

/// Defines the page of a list: `page_schema!(/// A page of devices. DevicePage, Device);`
///
/// The type has `items`, `next` (null at the end) and `total` (only where the list takes `count=true`, and was asked), and is made from a
/// `fleet_core::kernel::Page` of the same items. The item type must implement `serde::Serialize` and `utoipa::ToSchema`.
#[macro_export]
macro_rules! page_schema {
    ($(#[$doc:meta])* $name:ident, $item:ty) => {
        $(#[$doc])*
        #[derive(Clone, Debug, ::serde::Serialize, ::utoipa::ToSchema)]
        pub struct $name {
            /// The items, in the order of the query.
            pub items: ::std::vec::Vec<$item>,
            /// Continues the list, as `page_token`; null at its end.
            pub next: ::std::option::Option<::std::string::String>,
            /// How many items the whole list has; only with `count=true`.
            #[serde(skip_serializing_if = "Option::is_none")]
            #[schema(nullable = false)]
            pub total: ::std::option::Option<u64>,
        }

        impl ::std::convert::From<::fleet_core::kernel::Page<$item>> for $name {
            fn from(page: ::fleet_core::kernel::Page<$item>) -> Self {
                Self {
                    items: page.items,
                    next: page.next.map(|token| token.as_str().to_owned()),
                    total: ::std::option::Option::None,
                }
            }
        }
    };
}

//! `#[derive(Entity)]`: what a document kind is, read off its struct.
//!
//! ```ignore
//! #[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Entity)]
//! #[entity(kind = "device", version = 1)]
//! #[entity(computed(terms, text, many, with = Device::terms))]
//! #[entity(index = "state, due")]
//! pub struct Device {
//!     #[entity(id)]
//!     pub id: DeviceId,
//!     #[entity(text, unique)]
//!     pub name: String,
//! }
//! ```
//!
//! It implements `fleet_core::store::Entity` and, for each column, a constant such as `Device::NAME` of type
//! `Field<Device>` to build queries with.
//!
//! A field that may be large and that no column rests on is marked `#[entity(opaque)]`: it is passed over, and stands at its default,
//! when only index values are asked for, as they are for each document of a store that is moved or checked.

use proc_macro::TokenStream;
use proc_macro2::TokenStream as Tokens;
use quote::{format_ident, quote};
use syn::{
    Data, DeriveInput, Error, Field, Fields, Ident, LitInt, LitStr, Path, Result, Token, meta::ParseNestedMeta,
    parse_macro_input, punctuated::Punctuated,
};

/// See the crate's page.
#[proc_macro_derive(Entity, attributes(entity))]
pub fn derive_entity(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    expand(&input).unwrap_or_else(Error::into_compile_error).into()
}

/// A column, of a field or computed.
struct Column {
    name: Ident,
    r#type: Ident,
    many: bool,
    unique: bool,
    values: Tokens,
}

#[derive(Default)]
struct ColumnOptions {
    r#type: Option<Ident>,
    many: bool,
    unique: bool,
    with: Option<Path>,
}

impl ColumnOptions {
    /// Reads one word of a column's declaration; false when it is not one.
    fn read(&mut self, meta: &ParseNestedMeta<'_>) -> Result<bool> {
        let Some(word) = meta.path.get_ident() else {
            return Ok(false);
        };
        match word.to_string().as_str() {
            "int" => self.r#type = Some(format_ident!("Int")),
            "text" => self.r#type = Some(format_ident!("Text")),
            "reference" => self.r#type = Some(format_ident!("Id")),
            "many" => self.many = true,
            "unique" => self.unique = true,
            "with" => self.with = Some(meta.value()?.parse()?),
            _ => return Ok(false),
        }
        Ok(true)
    }
}

fn expand(input: &DeriveInput) -> Result<Tokens> {
    let name = &input.ident;
    let Data::Struct(data) = &input.data else {
        return Err(Error::new_spanned(name, "an entity is a struct"));
    };
    let Fields::Named(fields) = &data.fields else {
        return Err(Error::new_spanned(name, "an entity has named fields"));
    };

    let mut kind: Option<LitStr> = None;
    let mut version: Option<LitInt> = None;
    let mut upgrade: Option<Path> = None;
    let mut columns = Vec::new();
    let mut indexes: Vec<Vec<Ident>> = Vec::new();
    let mut id = None;
    let mut members = Vec::new();
    let mut light = Light::default();

    for field in &fields.named {
        let Some(ident) = &field.ident else { continue };
        members.push(ident.to_string());
        let mut options = ColumnOptions::default();
        let (mut is_id, mut is_opaque) = (false, false);
        for attribute in field
            .attrs
            .iter()
            .filter(|attribute| attribute.path().is_ident("entity"))
        {
            attribute.parse_nested_meta(|meta| {
                if meta.path.is_ident("id") {
                    is_id = true;
                } else if meta.path.is_ident("opaque") {
                    is_opaque = true;
                } else if !options.read(&meta)? {
                    return Err(meta.error("expected id, int, text, reference, many, unique or opaque"));
                }
                Ok(())
            })?;
        }
        light.field(field, ident, is_opaque);
        if is_id {
            id = Some((ident.clone(), field.ty.clone()));
        } else if let Some(r#type) = options.r#type {
            let values = quote!(::fleet_core::store::ToColumn::to_values(&self.#ident));
            columns.push(Column {
                name: ident.clone(),
                r#type,
                many: options.many,
                unique: options.unique,
                values,
            });
        }
    }

    for attribute in input
        .attrs
        .iter()
        .filter(|attribute| attribute.path().is_ident("entity"))
    {
        attribute.parse_nested_meta(|meta| {
            if meta.path.is_ident("kind") {
                kind = Some(meta.value()?.parse()?);
            } else if meta.path.is_ident("version") {
                version = Some(meta.value()?.parse()?);
            } else if meta.path.is_ident("upgrade") {
                upgrade = Some(meta.value()?.parse()?);
            } else if meta.path.is_ident("index") {
                let text: LitStr = meta.value()?.parse()?;
                let names = text
                    .parse_with(Punctuated::<Ident, Token![,]>::parse_terminated)?
                    .into_iter()
                    .collect();
                indexes.push(names);
            } else if meta.path.is_ident("computed") {
                let mut column: Option<Ident> = None;
                let mut options = ColumnOptions::default();
                meta.parse_nested_meta(|part| {
                    if !options.read(&part)? {
                        column = Some(part.path.require_ident()?.clone());
                    }
                    Ok(())
                })?;
                let (Some(column), Some(r#type), Some(with)) = (column, options.r#type, options.with) else {
                    return Err(meta.error("expected computed(name, type, with = function)"));
                };
                let values = quote!(::fleet_core::store::ToColumn::to_values(&#with(self)));
                columns.push(Column {
                    name: column,
                    r#type,
                    many: options.many,
                    unique: options.unique,
                    values,
                });
            } else {
                return Err(meta.error("expected kind, version, upgrade, index or computed"));
            }
            Ok(())
        })?;
    }

    let kind = kind.ok_or_else(|| Error::new_spanned(name, "expected #[entity(kind = \"…\", version = …)]"))?;
    let version = version.ok_or_else(|| Error::new_spanned(name, "expected #[entity(kind = \"…\", version = …)]"))?;
    let (id, id_type) = id.ok_or_else(|| Error::new_spanned(name, "one field is marked #[entity(id)]"))?;
    let upgrade = upgrade.map(|path| {
        quote! {
            fn upgrade(from: u32, body: &mut ::fleet_core::store::JsonObject) -> ::std::result::Result<(), ::std::string::String> {
                #path(from, body)
            }
        }
    });

    let for_index = light.for_index();
    let declared = columns.iter().map(
        |Column {
             name,
             r#type,
             many,
             unique,
             ..
         }| {
            let text = name.to_string();
            quote! {
                ::fleet_core::store::Column {
                    name: #text, r#type: ::fleet_core::store::ColumnType::#r#type, many: #many, unique: #unique,
                }
            }
        },
    );
    let constants = columns.iter().map(|column| {
        let text = column.name.to_string();
        let constant = format_ident!("{}", text.to_uppercase());
        let doc = format!("The column `{text}`.");
        quote! {
            #[doc = #doc]
            pub const #constant: ::fleet_core::store::Field<Self> = ::fleet_core::store::Field::new(#text);
        }
    });
    let values = columns.iter().map(|Column { values, many, .. }| {
        if *many {
            quote!(::fleet_core::store::sorted_values(#values))
        } else {
            quote!(::fleet_core::store::one_value(#values))
        }
    });
    let indexes = indexes.iter().map(|names| {
        let names = names.iter().map(Ident::to_string);
        quote!(::std::vec![#(#names),*])
    });

    Ok(quote! {
        impl #name {
            #(#constants)*
        }

        impl ::fleet_core::store::Entity for #name {
            type Id = #id_type;
            const KIND: ::fleet_core::store::Name = #kind;
            const VERSION: u32 = #version;
            const MEMBERS: &'static [&'static str] = &[#(#members),*];

            fn columns() -> ::std::vec::Vec<::fleet_core::store::Column> {
                ::std::vec![#(#declared),*]
            }

            fn indexes() -> ::std::vec::Vec<::std::vec::Vec<::fleet_core::store::Name>> {
                ::std::vec![#(#indexes),*]
            }

            fn id(&self) -> Self::Id {
                self.#id
            }

            fn index(&self) -> ::fleet_core::store::IndexedValues {
                ::std::vec![#(#values),*]
            }

            #upgrade
            #for_index
        }
    })
}

/// The struct again, with nothing in the place of what is opaque.
#[derive(Default)]
struct Light {
    fields: Vec<Tokens>,
    values: Vec<Tokens>,
    is_needed: bool,
}

impl Light {
    fn field(&mut self, field: &Field, name: &Ident, opaque: bool) {
        if opaque {
            self.is_needed = true;
            self.fields.push(quote!(#name: ::serde::de::IgnoredAny));
            self.values
                .push(quote!(#name: { let _ = light.#name; ::std::default::Default::default() }));
        } else {
            let (r#type, serde) = (
                &field.ty,
                field
                    .attrs
                    .iter()
                    .filter(|attribute| attribute.path().is_ident("serde")),
            );
            self.fields.push(quote!(#(#serde)* #name: #r#type));
            self.values.push(quote!(#name: light.#name));
        }
    }

    fn for_index(&self) -> Option<Tokens> {
        let (fields, values) = (&self.fields, &self.values);
        self.is_needed.then(|| {
            quote! {
                fn for_index(body: &[u8]) -> ::std::option::Option<Self> {
                    #[derive(::serde::Deserialize)]
                    struct Light { #(#fields,)* }
                    let light: Light = ::fleet_core::store::parse_for_index(body)?;
                    ::std::option::Option::Some(Self { #(#values,)* })
                }
            }
        })
    }
}

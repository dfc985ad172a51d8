//! Step 1: tagged unions. utoipa writes an internally tagged enum as anonymous alternatives; clients then call them
//! `JobOneOf1` and cannot tell them apart. Each alternative gets a name, and the union a discriminator.

use serde_json::{Map, Value, json};

use super::{
    normalise::{merged, plain_object},
    schemas::{SCHEMAS, components, components_mut, reference, target},
};

/// Names the variants of every component that is a tagged union.
pub(super) fn name_variants(document: &mut Value) {
    let names: Vec<String> = components(document)
        .into_iter()
        .flatten()
        .map(|(name, _)| name.clone())
        .collect();
    for name in names {
        let Some(known) = components(document) else { return };
        if let Some(union) = known.get(&name).and_then(|schema| Union::read(schema, known)) {
            union.write(&name, document);
        }
    }
}

struct Union {
    tag: String,
    variants: Vec<Variant>,
}

struct Variant {
    /// The tag's value.
    value: String,
    /// The alternative as one object.
    object: Value,
    /// The component that the alternative is made from, if it is one.
    from: Option<String>,
    /// Whether the alternative is nothing but that component.
    is_reference: bool,
}

impl Union {
    fn read(schema: &Value, known: &Map<String, Value>) -> Option<Self> {
        let members = schema.get("oneOf")?.as_array()?;
        let objects: Vec<(&Value, Value)> = members
            .iter()
            .map(|member| Some((member, plain_object(member, known, 0)?)))
            .collect::<Option<_>>()?;
        let tag = tag_of(objects.iter().map(|(_, object)| object))?;
        let variants = objects
            .into_iter()
            .map(|(member, object)| {
                let parts = member.get("allOf").and_then(Value::as_array);
                let inner = parts.and_then(|parts| parts.iter().find_map(target));
                Some(Variant {
                    value: one_value(&object, &tag)?.to_owned(),
                    object: merged(member, known, 0)
                        .filter(|merged| merged.get("$ref").is_none())
                        .unwrap_or(object),
                    from: target(member).or(inner).map(str::to_owned),
                    is_reference: target(member).is_some(),
                })
            })
            .collect::<Option<_>>()?;
        Some(Self { tag, variants })
    }

    fn write(self, union: &str, document: &mut Value) {
        let (mut members, mut mapping) = (Vec::new(), Map::new());
        for variant in self.variants {
            let name = if variant.is_reference {
                // It has a name already, and its tag.
                variant.from.unwrap_or_default()
            } else {
                let name = free_name(union, &variant, document);
                if let Some(components) = components_mut(document) {
                    components.insert(name.clone(), tag_first(variant.object, &self.tag));
                }
                name
            };
            members.push(reference(&name));
            mapping.insert(variant.value, json!(format!("{SCHEMAS}{name}")));
        }
        if let Some(schema) = components_mut(document).and_then(|all| all.get_mut(union)) {
            schema["oneOf"] = Value::Array(members);
            schema["discriminator"] = json!({ "propertyName": self.tag, "mapping": mapping });
        }
    }
}

/// The property that tells the alternatives apart: in each it has one value, and no two have the same.
fn tag_of<'a>(objects: impl Iterator<Item = &'a Value> + Clone) -> Option<String> {
    let first = objects.clone().next()?;
    let mut names: Vec<&String> = first.get("properties")?.as_object()?.keys().collect();
    names.sort_by_key(|name| (*name != "type", *name));
    names
        .into_iter()
        .find(|name| tells_apart(objects.clone(), name))
        .cloned()
}

fn tells_apart<'a>(objects: impl Iterator<Item = &'a Value>, name: &str) -> bool {
    let mut seen = std::collections::BTreeSet::new();
    let mut all = true;
    for object in objects {
        all &= one_value(object, name).is_some_and(|value| seen.insert(value));
    }
    all
}

fn one_value<'a>(object: &'a Value, property: &str) -> Option<&'a str> {
    let property = object.get("properties")?.get(property)?;
    match property.get("enum").and_then(Value::as_array).map(Vec::as_slice) {
        Some([value]) => value.as_str(),
        Some(_) => None,
        None => property.get("const")?.as_str(),
    }
}

/// `JobSpec` and `packages.upgrade` make `JobSpecPackagesUpgrade`. A component of that name is taken over when it is the
/// struct behind this alternative and nothing else refers to it; otherwise the name is `JobSpecPackagesUpgradeVariant`.
fn free_name(union: &str, variant: &Variant, document: &Value) -> String {
    let mut name = union.to_owned();
    for word in variant.value.split(|c: char| !c.is_ascii_alphanumeric()) {
        let mut letters = word.chars();
        name.extend(letters.next().map(|first| first.to_ascii_uppercase()));
        name.extend(letters);
    }
    let taken = components(document).is_some_and(|all| all.contains_key(&name));
    let is_its_own = variant.from.as_deref() == Some(name.as_str()) && uses(document, &name) == 1;
    if taken && !is_its_own {
        name.push_str("Variant");
    }
    name
}

fn uses(document: &Value, name: &str) -> usize {
    fn count(value: &Value, wanted: &str) -> usize {
        match value {
            Value::String(text) => usize::from(text == wanted),
            Value::Array(items) => items.iter().map(|item| count(item, wanted)).sum(),
            Value::Object(members) => members.values().map(|member| count(member, wanted)).sum(),
            _ => 0,
        }
    }
    count(document, &format!("{SCHEMAS}{name}"))
}

fn tag_first(mut object: Value, tag: &str) -> Value {
    if let Some(properties) = object.get_mut("properties").and_then(Value::as_object_mut) {
        let rest = std::mem::take(properties);
        properties.extend(rest.get(tag).map(|property| (tag.to_owned(), property.clone())));
        properties.extend(rest.into_iter().filter(|(name, _)| name != tag));
    }
    let required = object
        .as_object_mut()
        .map(|object| object.entry("required").or_insert_with(|| json!([])));
    if let Some(required) = required.and_then(Value::as_array_mut) {
        required.retain(|name| name != tag);
        required.insert(0, json!(tag));
    }
    object
}

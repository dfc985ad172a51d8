//! The document of the real routes keeps the rules of the house.

#[test]
fn the_document_has_no_complaints() {
    let text = fleet_api::openapi_document();
    let document = serde_json::from_str(&text).unwrap();
    assert_eq!(fleet_api::openapi::lint(&document), Vec::<String>::new());
}

//! What stands around the content of every page.

use maud::{DOCTYPE, Markup, html};

use super::looks::{Language, Looks, address};
use super::serve_assets;
use super::visitor::Visitor;

/// The place of a page in the navigation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Catalogue,
    Sql,
    Operations,
    About,
    Elsewhere,
}

/// Returns a whole page for somebody who may be unknown.
pub(super) fn shell(looks: &Looks, who: Option<&Visitor>, place: Place, title: &str, content: &Markup) -> Markup {
    let t = looks.texts();
    html! {
        (DOCTYPE)
        html lang=(looks.language.code()) data-theme=(looks.theme) {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " · Hambar" }
                @if let Some(style) = serve_assets::address("style.css") {
                    link rel="stylesheet" href=(style);
                } @else {
                    link rel="stylesheet" href="/docs/style.css";
                }
                @if let Some(icon) = serve_assets::address("icon.svg") {
                    link rel="icon" type="image/svg+xml" href=(icon);
                }
                @if let Some(script) = serve_assets::address("main.js") {
                    script type="module" src=(script) {}
                }
            }
            body {
                a.skip href="#main" { (t.skip) }
                header {
                    a.brand href="/" { "Hambar" }
                    nav aria-label=(t.navigation) {
                        ul {
                            (entry(place == Place::Catalogue, "/", t.nav_catalogue))
                            (entry(place == Place::Sql, "/sql", t.nav_sql))
                            @if who.is_some_and(Visitor::is_operator) {
                                (entry(place == Place::Operations, "/operations", t.nav_operations))
                            }
                            (entry(false, "/docs", t.nav_interface))
                            (entry(place == Place::About, "/about", t.nav_about))
                        }
                    }
                    (tools(looks, who))
                }
                main #main tabindex="-1" { (content) }
                footer {
                    p { "Hambar " (env!("CARGO_PKG_VERSION")) " · " (t.tagline) }
                    @if !serve_assets::has_scripts() {
                        p.note { (t.no_scripts) }
                    }
                }
            }
        }
    }
}

/// A line of links, and what they are.
pub(super) fn links(said: &str, targets: &[(&str, String)]) -> Markup {
    html! {
        p.meta {
            (said)
            @for (place, (name, target)) in targets.iter().enumerate() {
                @if place > 0 { " · " } @else { " " }
                a href=(target) { (name) }
            }
        }
    }
}

fn entry(is_here: bool, target: &str, name: &str) -> Markup {
    html! {
        li {
            @if is_here { a href=(target) aria-current="page" { (name) } } @else { a href=(target) { (name) } }
        }
    }
}

fn tools(looks: &Looks, who: Option<&Visitor>) -> Markup {
    let t = looks.texts();
    html! {
        div.tools {
            ul.languages aria-label=(t.language) {
                @for language in Language::ALL {
                    @let code = language.code();
                    li {
                        @if language == looks.language {
                            a href=(looks.with(&[("lang", Some(code))])) lang=(code) hreflang=(code) aria-current="true" {
                                (language.own_name())
                            }
                        } @else {
                            a href=(looks.with(&[("lang", Some(code))])) lang=(code) hreflang=(code) {
                                (language.own_name())
                            }
                        }
                    }
                }
            }
            button type="button" data-theme-switch hidden { (t.theme) }
            @match who {
                Some(visitor) if visitor.session.is_some() => {
                    form.logout method="post" action="/logout" {
                        input type="hidden" name="csrf" value=(visitor.form_token());
                        span.who { (visitor.principal.name()) }
                        " "
                        button type="submit" { (t.log_out) }
                    }
                }
                _ => a.login href=(address("/login", &[("next", &looks.with(&[("lang", None)]))])) { (t.log_in) },
            }
        }
    }
}

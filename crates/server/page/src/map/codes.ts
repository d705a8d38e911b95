// Which country a text of the data names: by ISO 3166-1 code of two or three letters or by number, by the codes that
// Eurostat and the World Bank use instead of them, or by its name.

import codes from "i18n-iso-countries/codes.json";
import bulgarian from "i18n-iso-countries/langs/bg.json";
import english from "i18n-iso-countries/langs/en.json";
import { language } from "../text";

type Names = Record<string, string | string[]>;

/** Kosovo has no code in ISO 3166-1; providers write XK and XKX, and the outlines have only its name. */
const KOSOVO = "XK";
/** Codes that providers write instead of ISO's. */
const OTHER_CODES: [string, string][] = [
  ["EL", "GR"],
  ["UK", "GB"],
  ["XKX", KOSOVO],
  ["XK", KOSOVO],
  ["KSV", KOSOVO],
];
/** Names that providers write and the lists do not have. */
const OTHER_NAMES: [string, string][] = [
  ["north macedonia", "MK"],
  ["macedonia", "MK"],
  ["turkey", "TR"],
  ["turkiye", "TR"],
  ["czechia", "CZ"],
  ["czech republic", "CZ"],
  ["russia", "RU"],
  ["south korea", "KR"],
  ["north korea", "KP"],
  ["iran", "IR"],
  ["syria", "SY"],
  ["vietnam", "VN"],
  ["laos", "LA"],
  ["bolivia", "BO"],
  ["venezuela", "VE"],
  ["tanzania", "TZ"],
  ["moldova", "MD"],
  ["united states", "US"],
  ["united kingdom", "GB"],
  ["kosovo", KOSOVO],
  ["ivory coast", "CI"],
  ["cote d'ivoire", "CI"],
  ["democratic republic of congo", "CD"],
  ["congo", "CG"],
  ["brunei", "BN"],
  ["palestine", "PS"],
  ["taiwan", "TW"],
  ["cape verde", "CV"],
  ["micronesia", "FM"],
];

const byText = new Map<string, string>();
const byNumber = new Map<string, string>();
const names = new Intl.DisplayNames([language], { type: "region" });

function plain(text: string): string {
  return text
    .normalize("NFD")
    .replace(/\p{Diacritic}/gu, "")
    .toLowerCase()
    .trim();
}

function learnNames(list: Names): void {
  for (const [code, known] of Object.entries(list)) {
    for (const name of typeof known === "string" ? [known] : known) byText.set(plain(name), code);
  }
}

learnNames(english.countries);
learnNames(bulgarian.countries);
for (const [name, code] of OTHER_NAMES) byText.set(name, code);
for (const [two, three, digits] of codes as string[][]) {
  if (two === undefined || three === undefined || digits === undefined) continue;
  byText.set(two.toLowerCase(), two).set(three.toLowerCase(), two).set(digits, two);
  byNumber.set(digits, two);
}
for (const [code, two] of OTHER_CODES) byText.set(code.toLowerCase(), two);

/** Returns the two letters of the country that a text names, if it names one. */
export function countryOf(text: string): string | undefined {
  return byText.get(plain(text));
}

/** Returns a country's name in the language of the page. */
export function countryName(code: string): string {
  return names.of(code) ?? code;
}

/** Returns the two letters of an outline: by its number, or by its name where it has none. */
export function outlineOf(number: string | undefined, name: string): string | undefined {
  if (number !== undefined) return byNumber.get(number);
  return name === "Kosovo" ? KOSOVO : undefined;
}

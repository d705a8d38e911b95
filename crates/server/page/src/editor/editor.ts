// The SQL editor: CodeMirror inside a shadow root, where it takes its styles from constructed sheets instead of
// elements that the page's policy would refuse.

import {
  acceptCompletion,
  autocompletion,
  closeBrackets,
  closeBracketsKeymap,
  completionKeymap,
} from "@codemirror/autocomplete";
import { defaultKeymap, history, historyKeymap } from "@codemirror/commands";
import { keywordCompletionSource, sql } from "@codemirror/lang-sql";
import { HighlightStyle, bracketMatching, syntaxHighlighting } from "@codemirror/language";
import { type Diagnostic, lintKeymap, setDiagnostics } from "@codemirror/lint";
import { Compartment, EditorState, type Extension, Prec, type Transaction } from "@codemirror/state";
import { EditorView, drawSelection, highlightActiveLine, keymap, lineNumbers } from "@codemirror/view";
import { tags } from "@lezer/highlight";
import { h } from "../dom";
import { language, t } from "../text";
import type { CatalogueTable } from "./catalogue";
import { completions } from "./completion";
import { dialect } from "./dialect";
import { phrases } from "./phrases";

// Colours are the page's, which change with its theme.
const colours = HighlightStyle.define([
  { tag: tags.keyword, color: "var(--code-keyword)", fontWeight: "600" },
  { tag: [tags.string, tags.special(tags.string)], color: "var(--code-string)" },
  { tag: [tags.number, tags.bool, tags.null], color: "var(--code-number)" },
  { tag: tags.comment, color: "var(--code-comment)", fontStyle: "italic" },
  { tag: [tags.standard(tags.name), tags.typeName], color: "var(--code-builtin)" },
]);

const look = EditorView.theme({
  "&": { color: "var(--ink)", backgroundColor: "var(--paper)", fontSize: "0.9375rem", height: "100%" },
  ".cm-scroller": { fontFamily: "var(--mono)", lineHeight: "1.55" },
  ".cm-content": { caretColor: "var(--ink)", padding: "0.6rem 0" },
  // The frame around the editor shows where the keyboard is.
  "&.cm-focused": { outline: "none" },
  ".cm-cursor": { borderLeftColor: "var(--ink)", borderLeftWidth: "2px" },
  ".cm-gutters": { backgroundColor: "var(--shade)", color: "var(--faint)", border: "none" },
  ".cm-activeLine": { backgroundColor: "transparent" },
  "&.cm-focused .cm-activeLine": { backgroundColor: "var(--line-now)" },
  ".cm-selectionBackground, &.cm-focused > .cm-scroller > .cm-selectionLayer .cm-selectionBackground": {
    backgroundColor: "var(--selection)",
  },
  ".cm-matchingBracket": { backgroundColor: "var(--selection)", outline: "none" },
  ".cm-tooltip": {
    backgroundColor: "var(--paper)",
    color: "var(--ink)",
    border: "1px solid var(--edge)",
    borderRadius: "6px",
    boxShadow: "var(--shadow)",
  },
  ".cm-tooltip-autocomplete > ul": { fontFamily: "var(--mono)", maxHeight: "16em" },
  ".cm-tooltip-autocomplete > ul > li[aria-selected]": { backgroundColor: "var(--accent)", color: "var(--on-accent)" },
  ".cm-completionDetail": { color: "inherit", opacity: "0.8", fontStyle: "normal" },
  ".cm-diagnostic": { padding: "0.3rem 0.6rem", fontFamily: "var(--sans)" },
  ".cm-diagnostic-error": { borderLeft: "4px solid var(--bad)" },
  ".cm-lintRange-error": {
    backgroundImage: "none",
    textDecoration: "underline wavy var(--bad)",
    textUnderlineOffset: "3px",
  },
});

// Where text is typed over a selection, Chromium would keep the selection's look by a style attribute, which the policy
// refuses with a message. The editor needs no such help: it is told of the text before the browser acts.
const typingOver = EditorView.domEventHandlers({
  beforeinput: (event, view) => {
    const { data: text, inputType } = event;
    const { main } = view.state.selection;
    if (inputType !== "insertText" || text === null || main.empty || view.composing) return false;
    const insert = (): Transaction =>
      view.state.update(view.state.replaceSelection(text), { userEvent: "input.type", scrollIntoView: true });
    const handlers = view.state.facet(EditorView.inputHandler);
    if (!handlers.some((handler) => handler(view, main.from, main.to, text, insert))) view.dispatch(insert());
    event.preventDefault();
    return true;
  },
});

/** The editor of one statement. */
export class Editor {
  readonly element = h("div", { class: "editor" });
  private readonly view: EditorView;
  private readonly completion = new Compartment();

  constructor(statement: string, run: () => void, changed: (statement: string) => void) {
    const root = this.element.attachShadow({ mode: "open" });
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(":host { display: block; } .host { height: 100%; }");
    root.adoptedStyleSheets = [sheet];
    const parent = h("div", { class: "host" });
    root.append(parent);
    const ownKeys = Prec.highest(
      keymap.of([
        { key: "Mod-Enter", run: () => (run(), true) },
        { key: "Tab", run: acceptCompletion },
      ]),
    );
    const extensions: Extension[] = [
      ownKeys,
      lineNumbers(),
      history(),
      drawSelection(),
      bracketMatching(),
      closeBrackets(),
      highlightActiveLine(),
      sql({ dialect, upperCaseKeywords: true }).language,
      this.completion.of(this.completing([])),
      syntaxHighlighting(colours),
      look,
      typingOver,
      EditorView.lineWrapping,
      EditorView.contentAttributes.of({ "aria-label": t("statement"), spellcheck: "false" }),
      EditorView.updateListener.of((update) => {
        if (update.docChanged) changed(update.state.doc.toString());
      }),
      keymap.of([...closeBracketsKeymap, ...defaultKeymap, ...historyKeymap, ...completionKeymap, ...lintKeymap]),
      language === "bg" ? EditorState.phrases.of(phrases) : [],
    ];
    this.view = new EditorView({ state: EditorState.create({ doc: statement, extensions }), root, parent });
  }

  private completing(tables: readonly CatalogueTable[]): Extension {
    const keywords = keywordCompletionSource(dialect, true);
    return autocompletion({ override: [completions(tables), keywords], icons: false, tooltipClass: () => "completions" });
  }

  /** Takes the tables and columns to complete. */
  know(tables: readonly CatalogueTable[]): void {
    this.view.dispatch({ effects: this.completion.reconfigure(this.completing(tables)) });
  }

  /** The statement. */
  get statement(): string {
    return this.view.state.doc.toString();
  }

  set statement(text: string) {
    this.view.dispatch({ changes: { from: 0, to: this.view.state.doc.length, insert: text } });
  }

  /** Writes a name where the cursor is. */
  insert(text: string): void {
    this.view.dispatch(this.view.state.replaceSelection(text));
    this.view.focus();
  }

  /** Moves the keyboard into the editor. */
  focus(): void {
    this.view.focus();
  }

  /** Marks what is wrong, at its place. */
  mark(message: string, position: { line: number; column: number } | undefined): void {
    const { doc } = this.view.state;
    const diagnostics: Diagnostic[] = [];
    if (position && position.line >= 1 && position.line <= doc.lines) {
      const line = doc.line(position.line);
      // The server counts characters, the editor counts UTF-16 units.
      const before = Array.from(line.text).slice(0, Math.max(0, position.column - 1)).join("").length;
      const from = Math.min(line.to, line.from + before);
      const length = /^(?:"[^"]*"|[\p{L}\p{N}_.]+|.)/u.exec(line.text.slice(before))?.[0].length ?? 0;
      diagnostics.push({ from, to: Math.min(doc.length, from + length), severity: "error", message });
      this.view.dispatch({ selection: { anchor: from }, scrollIntoView: true });
    }
    this.view.dispatch(setDiagnostics(this.view.state, diagnostics));
  }

  /** Takes the marks away. */
  unmark(): void {
    this.view.dispatch(setDiagnostics(this.view.state, []));
  }
}

// What the editor component itself says, in Bulgarian; English is its own.

export const phrases: Record<string, string> = {
  "Control character": "Управляващ знак",
  "Selection deleted": "Избраното е изтрито",
  "Folded lines": "Сгънати редове",
  Completions: "Предложения",
  Diagnostics: "Грешки",
  "No diagnostics": "Няма грешки",
  close: "затвори",
};

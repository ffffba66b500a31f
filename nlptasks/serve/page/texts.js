// What the page says, in Chinese and English.
const TEXTS = {
  zh: {
    skip: "跳到模型", documentation: "接口文档", cards: "返回模型卡片", key: "访问密钥（NLPTASKS_API_KEY）", unlock: "解锁",
    ready: "已就绪", warming: "正在预热…", offline: "无法连接服务器", run: "运行", write: "写作", stop: "停止", took: "用时 {ms} 毫秒",
    busy: "服务器繁忙，请稍后再试。", wrongKey: "密钥不对，或缺少密钥。",
    word_segmentation: "中文分词", sentence_similarity: "句子相似度", text_classification: "文本分类", sequence_labeling: "实体识别",
    reading_comprehension: "阅读理解", conditional_generation: "条件生成", filling: "掩码填空",
    text: "文本", second: "第二段文本", standard: "标注规范", words: "共 {count} 个词", query: "查询句", sentences: "候选句（每行一句）",
    question: "问题", passages: "篇章（每行一篇）", shade: "显示注意力", noAnswer: "没有答案", vote: "投票概率 {p}", silent: "未参与投票",
    passage: "篇章 {n}", noEntity: "没有找到实体", condition: "条件", any: "不限", prompt: "开头", seed: "随机种子", temperature: "温度",
    length: "最多词元", topP: "top-p", streaming: "边写边显示", tokens: "{n} 个词元", complete: "完整", cut: "到达长度上限", maskText: "含 {mask} 的文本",
    noLabel: "没有标签", picture: "注意力掩码示意图", pictureLegend: "每行是一个位置，有色格表示它能看到的位置；{kind}",
    unilm: "UNILM：原文互相可见，答案只看原文和自己之前的词", bidirectional: "双向：所有位置互相可见", causal: "因果：只看自己和之前的位置",
    request: "请求", answer: "回答", needed: "必填", vector: "条件向量（{size} 个数，逗号分隔）", example: "示例",
  },
  en: {
    skip: "Skip to the models", documentation: "Paths", cards: "Back to the cards", key: "Key (NLPTASKS_API_KEY)", unlock: "Unlock",
    ready: "ready", warming: "warming up…", offline: "the server does not answer", run: "Run", write: "Write", stop: "Stop", took: "{ms} ms",
    busy: "The server is busy; try again in a moment.", wrongKey: "The key is missing or wrong.",
    word_segmentation: "Chinese word segmentation", sentence_similarity: "Sentence similarity", text_classification: "Text classification",
    sequence_labeling: "Entities", reading_comprehension: "Reading comprehension", conditional_generation: "Text under conditions", filling: "Filling masks",
    text: "Text", second: "Second text", standard: "Standard", words: "{count} words", query: "Query", sentences: "Sentences, one a line",
    question: "Question", passages: "Passages, one a line", shade: "Show attention", noAnswer: "No answer", vote: "vote {p}", silent: "did not vote",
    passage: "Passage {n}", noEntity: "No entity found", condition: "Condition", any: "any", prompt: "Beginning", seed: "Seed", temperature: "Temperature",
    length: "Most tokens", topP: "top-p", streaming: "Show it while it is written", tokens: "{n} tokens", complete: "complete", cut: "cut at the limit", maskText: "Text with {mask}",
    noLabel: "no label", picture: "The attention mask, as a picture", pictureLegend: "Each row is a position; it sees the colored ones. {kind}",
    unilm: "UNILM: the source sees itself, the answer sees the source and its own past", bidirectional: "Bidirectional: every position sees all", causal: "Causal: a position sees itself and its past",
    request: "Request", answer: "Answer", needed: "needed", vector: "Condition vector ({size} numbers, commas between)", example: "Example",
  },
};
let language = localStorage.getItem("language") || (navigator.language.startsWith("zh") ? "zh" : "en");

/** The text of a key in the chosen language. */
export function text(key, values = {}) {
  const found = TEXTS[language][key] ?? key;
  return found.replace(/\{(\w+)\}/g, (whole, name) => (values[name] === undefined ? whole : values[name]));
}

/** An element; texts are never read as HTML. `t` is a key of TEXTS, `values` what goes into it. */
export function make(tag, properties = {}, ...children) {
  const { t, values, ...others } = properties;
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(others)) {
    if (name in element && name !== "list") element[name] = value;
    else element.setAttribute(name, value);
  }
  if (t) {
    element.dataset.t = t;
    if (values) element.dataset.values = JSON.stringify(values);
    element.textContent = text(t, values);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** Writes all texts of the page in the chosen language. */
export function translate() {
  document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
  for (const element of document.querySelectorAll("[data-t]")) {
    element.textContent = text(element.dataset.t, JSON.parse(element.dataset.values || "{}"));
  }
  const button = document.getElementById("language");
  button.textContent = language === "zh" ? "English" : "中文";
  button.lang = language === "zh" ? "en" : "zh-CN";
}

/** Lets the button change the language. */
export function startLanguage() {
  document.getElementById("language").addEventListener("click", () => {
    language = language === "zh" ? "en" : "zh";
    localStorage.setItem("language", language);
    translate();
  });
  translate();
}

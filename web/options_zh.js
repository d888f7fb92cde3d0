/* The options of the pack's inputs in Simplified Chinese, by input. JSON, but for this frame. */
export const OPTIONS_ZH = {
  "think_block": { "none": "无", "empty": "空", "open": "打开", "the model's own": "按模型原样" },
  "taps": {
    "auto": "自动",
    "1": "1 层",
    "2": "2 层",
    "3": "3 层",
    "4": "4 层",
    "6": "6 层",
    "8": "8 层",
    "12": "12 层",
    "13": "13 层",
    "single layers": "逐层",
    "single layer": "单层",
    "leave one out": "依次去掉一层",
    "solo": "依次只留一层"
  },
  "tokens": {
    "auto": "自动",
    "all": "全部",
    "image": "图像",
    "image + markers": "图像及标记",
    "text": "文本"
  },
  "text_place": { "after the images": "图像之后", "before the images": "图像之前" },
  "preprocessing": { "exact": "精确", "host": "同 ComfyUI" },
  "several_images": { "one prompt": "同一提示词", "one prompt each": "各一提示词" },
  "mode": {
    "zero": "置零",
    "clamp": "限幅",
    "scale": "缩放",
    "mean": "取均值",
    "drop sinks": "移除汇聚点",
    "sink to mean": "汇聚点取均值",
    "add": "加入",
    "amplify": "放大",
    "remove": "去除"
  },
  "what": {
    "outliers and sinks": "离群维度与汇聚点",
    "outliers": "离群维度",
    "sinks": "汇聚点",
    "single tokens": "单个 token"
  },
  "theme": { "light": "浅色", "dark": "深色" },
  "replace": {
    "mean": "取均值",
    "zero": "置零",
    "drop": "移除",
    "all three": "三者都做",
    "shuffle": "打乱"
  },
  "direction": { "loud": "偏大", "quiet": "偏小", "both": "两者" },
  "method": {
    "raw": "原样",
    "rms matched": "匹配 RMS",
    "mean of normalised layers": "归一化各层的均值",
    "global": "全局",
    "per dimension": "逐维度",
    "hybrid": "混合",
    "rms per token": "逐 token RMS",
    "masked": "遮住词的位置",
    "replaced": "换成中性词",
    "interpolate": "插值",
    "interpolate (llm-dit)": "两点插值",
    "linear": "逐个配对",
    "append": "拼接",
    "adain": "AdaIN",
    "adain per dimension": "逐维度 AdaIN",
    "style dims": "风格维度",
    "graduated": "渐变",
    "attention weighted": "注意力加权",
    "slerp": "球面插值",
    "truncate": "截断",
    "pool": "池化",
    "attention pool": "注意力池化"
  },
  "match": {
    "none": "不匹配",
    "global": "全局",
    "per dimension": "逐维度",
    "hybrid": "混合",
    "rms per token": "逐 token RMS"
  },
  "curve": {
    "linear": "匀速",
    "ease in": "缓入",
    "ease out": "缓出",
    "cosine": "余弦",
    "step": "阶跃"
  },
  "difference": { "none": "无", "absolute": "绝对值", "heat map": "热图" },
  "format": { "musubi": "musubi-tuner 格式", "ai-toolkit": "ai-toolkit 格式", "plain": "嵌入文件" },
  "dtype": { "bf16": "16 位（bf16）", "f32": "32 位（f32）" },
  "name": {
    "Qwen3-4B at layer -2, published figures [shipped]": "Qwen3-4B 第 -2 层，已公布的数值 [shipped]",
    "no embedding file yet: run Save Embedding, then press R": "还没有嵌入文件：先运行“保存嵌入”，再按 R",
    "no concept file yet: run Save Concept, then press R": "还没有概念文件：先运行“保存概念”，再按 R"
  }
};
